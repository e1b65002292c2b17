#pragma once

#include <cstdint>

// Every bound of the gateway: what one client may send, hold open or be sent.
namespace darkroom::gateway_limits {

// Requests.
inline constexpr int kMessageBytesMax = 4 << 20;
inline constexpr int kPromptBytesMax = 10'240;
inline constexpr int kLabelsMax = 16;
inline constexpr int kLabelBytesMax = 63;
inline constexpr int kResourceNameBytesMax = 256;
inline constexpr int kPageTokenBytesMax = 512;
inline constexpr int kPageSizeDefault = 50;
inline constexpr int kPageSizeMax = 1000;
// Ceilings of the API; a model may allow less.
inline constexpr int kStepsMax = 1000;
inline constexpr int kImagesMax = 16;
inline constexpr double kGuidanceScaleMin = 1;
inline constexpr double kGuidanceScaleMax = 30;
inline constexpr double kStrengthDefault = 0.6;
// Pictures of one request, and the bytes of one that comes inside it.
inline constexpr int kInputsMax = 2;
inline constexpr int kInputDataBytesMax = 3 << 20;
// How far ahead a deadline may be.
inline constexpr int kDeadlineAheadSecondsMax = 365 * 24 * 3600;
inline constexpr int kPreviewSizeDefault = 256;
inline constexpr int kPreviewSizeMin = 16;
inline constexpr int kPreviewSizeMax = 512;

// Uploads: one message's bytes, one upload's by default, and those of all uploads that are under
// way.
inline constexpr int kUploadPieceBytesMax = 1 << 20;
inline constexpr int64_t kUploadBytesMaxDefault = 32 << 20;
inline constexpr int64_t kUploadBytesInFlightMax = 512 << 20;

// Keys: what people call them, and how long the text before stays good when one is rotated.
inline constexpr int kKeyTitleBytesMax = 256;
inline constexpr int64_t kKeyOverlapSecondsDefault = 24 * 3600;
inline constexpr int64_t kKeyOverlapSecondsMax = 30 * 24 * 3600;
// How often certificates' files are looked at.
inline constexpr unsigned kTlsReloadSeconds = 1;

// Errors travel in trailing metadata, of which clients accept 8 KiB in all by default. With these
// bounds the largest error stays below that even when every byte is escaped.
inline constexpr int kViolationsMax = 8;
inline constexpr int kViolationBytesMax = 320;
inline constexpr int kErrorMessageBytesMax = 512;
inline constexpr int kQuotedBytesMax = 40;
inline constexpr int kNearestNamesMax = 3;
// Bytes of an unknown name that are compared with the known ones: bounds the time of an error.
inline constexpr int kComparedBytesMax = 64;

// Replies.
inline constexpr int kOutputChunkBytesMax = 1 << 20;
// Outputs inside one GetGeneration reply, and inside all such replies that are not yet sent.
inline constexpr int64_t kIncludedOutputsBytesMax = 64 << 20;
inline constexpr int64_t kIncludedOutputsBytesInFlightMax = 256 << 20;
inline constexpr int kReplyBytesMax = static_cast<int>(kIncludedOutputsBytesMax) + (1 << 20);
// A page of ListGenerations is gathered in pieces of this many, and ends early at this size, so
// that 1000 long prompts still fit the 4 MiB that clients accept by default.
inline constexpr int kListPieceSize = 64;
inline constexpr int64_t kListReplyBytesMax = 2 << 20;

// Connections and calls.
inline constexpr int kCallsMaxDefault = 1024;
inline constexpr int kCallsMaxMax = 65'536;
inline constexpr int kStreamsPerConnectionMax = 1024;
inline constexpr int kMetadataBytesMax = 16 << 10;
// Memory that gRPC may hold for all connections: read buffers and messages not yet parsed.
inline constexpr int64_t kTransportBytesMax = 512 << 20;
// A client that pings more often than this without a call's data gets GOAWAY.
inline constexpr int kPingIntervalMsMin = 10'000;
inline constexpr int kPingStrikesMax = 2;
// A client that answers no ping for this long is gone, even if its machine sent no FIN.
inline constexpr int kKeepaliveIntervalMs = 30'000;
inline constexpr int kKeepaliveTimeoutMs = 10'000;

// What refused calls are told to wait.
inline constexpr int kRetryBusyMs = 1'000;
inline constexpr int kRetryModelLoadingMs = 2'000;

}  // namespace darkroom::gateway_limits
