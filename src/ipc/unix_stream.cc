#include "ipc/unix_stream.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "absl/status/status.h"
#include "ipc/limits.h"

namespace darkroom {
namespace {

constexpr size_t kControlBytes = CMSG_SPACE(kFrameAttachmentsMax * sizeof(int));

void TakeDescriptors(msghdr& message, std::vector<UniqueFd>& descriptors) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      descriptors.emplace_back(fd);
    }
  }
}

bool IsGone(int error) { return error == ECONNRESET || error == EPIPE || error == ENOTCONN; }

}  // namespace

absl::StatusOr<ByteStream::Progress> UnixStream::Read(absl::Span<char> buffer,
                                                      std::vector<UniqueFd>& descriptors) {
  iovec part{buffer.data(), buffer.size()};
  alignas(cmsghdr) char control[kControlBytes];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const int flags = MSG_CMSG_CLOEXEC | (mode_ == Mode::kNonBlocking ? MSG_DONTWAIT : 0);
  ssize_t bytes;
  do {
    bytes = ::recvmsg(socket_.get(), &message, flags);
  } while (bytes < 0 && errno == EINTR);
  if (bytes < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return Progress{State::kWouldBlock, 0};
    // A peer that closed with unread data resets; what it had written was given before this.
    if (IsGone(errno)) return Progress{State::kEnd, 0};
    return absl::ErrnoToStatus(errno, "recvmsg");
  }
  TakeDescriptors(message, descriptors);
  if ((message.msg_flags & MSG_CTRUNC) != 0) {
    return absl::ResourceExhaustedError("descriptors were lost: this process may open no more");
  }
  if (bytes == 0) return Progress{State::kEnd, 0};
  return Progress{State::kMoved, static_cast<size_t>(bytes)};
}

absl::StatusOr<ByteStream::Progress> UnixStream::Write(std::string_view bytes,
                                                       absl::Span<const int> descriptors) {
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[kControlBytes] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    if (descriptors.size() > kFrameAttachmentsMax) {
      return absl::InvalidArgumentError("more descriptors than one message carries");
    }
    const size_t size = descriptors.size() * sizeof(int);
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(size);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(header), descriptors.data(), size);
  }
  const int flags = MSG_NOSIGNAL | (mode_ == Mode::kNonBlocking ? MSG_DONTWAIT : 0);
  ssize_t sent;
  do {
    sent = ::sendmsg(socket_.get(), &message, flags);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return Progress{State::kWouldBlock, 0};
    if (IsGone(errno)) return Progress{State::kEnd, 0};
    return absl::ErrnoToStatus(errno, "sendmsg");
  }
  return Progress{State::kMoved, static_cast<size_t>(sent)};
}

void UnixStream::CloseRead() { ::shutdown(socket_.get(), SHUT_RD); }

absl::StatusOr<std::pair<UniqueFd, UniqueFd>> UnixSocketPair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return absl::ErrnoToStatus(errno, "socketpair");
  }
  return std::make_pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

}  // namespace darkroom
