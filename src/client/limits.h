#pragma once

// Every bound of the client library.
namespace darkroom::client_limits {

// Largest reply: a generation with 64 MiB of outputs, and its record.
inline constexpr int kReplyBytesMax = 66 << 20;
// Longest wait for the answer to a call that is no stream.
inline constexpr int kUnaryDeadlineSeconds = 30;
// Longest upload or download.
inline constexpr int kTransferDeadlineSeconds = 300;
// A piece of an upload; the server takes no larger one.
inline constexpr int kUploadPieceBytes = 1 << 20;
// Bytes of a download that are taken before it is given up.
inline constexpr int kDownloadBytesMax = 512 << 20;
// Pages read when all models are asked for.
inline constexpr int kModelPagesMax = 100;
// Keys on a page, and pages read when all keys are asked for.
inline constexpr int kKeysPerPage = 1000;
inline constexpr int kKeyPagesMax = 100;
// The same of tenants, which are larger.
inline constexpr int kTenantsPerPage = 500;
inline constexpr int kTenantPagesMax = 100;
// A connection that carries nothing is tested this often, so that a dead server is noticed.
inline constexpr int kKeepaliveIntervalMs = 20'000;

}  // namespace darkroom::client_limits
