#include "darkroom/payload.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/limits.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

constexpr int kAllSeals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;

UniqueFd Memfd(size_t size, int seals) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  if (seals != 0) {
    EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  }
  return fd;
}

bool IsOpen(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(PayloadTest, EmptyByDefault) {
  const Payload payload;
  EXPECT_TRUE(payload.empty());
  EXPECT_EQ(payload.fd(), -1);
}

TEST(PayloadTest, HeapCopyOwnsItsBytes) {
  std::string bytes = "latents";
  const Payload payload = Payload::Copy(bytes);
  bytes[0] = 'x';
  EXPECT_EQ(payload.bytes(), "latents");
  EXPECT_EQ(payload.fd(), -1);
}

TEST(PayloadTest, MemfdIsSealedAgainstEverything) {
  auto payload = Payload::CreateMemfd(
      4096, [](absl::Span<char> out) { std::memset(out.data(), 'a', out.size()); });
  ASSERT_TRUE(payload.ok()) << payload.status();
  EXPECT_EQ(payload->bytes(), std::string(4096, 'a'));
  EXPECT_EQ(::write(payload->fd(), "b", 1), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(payload->fd(), 0), -1);
  EXPECT_EQ(::ftruncate(payload->fd(), 8192), -1);
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, payload->fd(), 0),
            MAP_FAILED);
}

TEST(PayloadTest, AdoptedMemfdReadsTheSameBytes) {
  auto made = Payload::CreateMemfd(
      100'000, [](absl::Span<char> out) { std::memset(out.data(), 'z', out.size()); });
  ASSERT_TRUE(made.ok());
  auto adopted = Payload::AdoptMemfd(::dup(made->fd()), 100'000);
  ASSERT_TRUE(adopted.ok()) << adopted.status();
  EXPECT_EQ(adopted->bytes(), made->bytes());
}

TEST(PayloadTest, AdoptRefusesAndClosesWhateverIsNotSealed) {
  const int partial[] = {0, F_SEAL_WRITE, F_SEAL_GROW | F_SEAL_SHRINK, F_SEAL_WRITE | F_SEAL_GROW,
                         F_SEAL_WRITE | F_SEAL_SHRINK};
  for (const int seals : partial) {
    const int fd = Memfd(10, seals).Release();
    EXPECT_TRUE(absl::IsInvalidArgument(Payload::AdoptMemfd(fd, 10).status())) << seals;
    EXPECT_FALSE(IsOpen(fd)) << seals;
  }
}

TEST(PayloadTest, AdoptRefusesAnotherSize) {
  for (const size_t size : {size_t{0}, size_t{9}, size_t{11}, SIZE_MAX}) {
    const int fd = Memfd(10, kAllSeals).Release();
    EXPECT_TRUE(absl::IsInvalidArgument(Payload::AdoptMemfd(fd, size).status())) << size;
    EXPECT_FALSE(IsOpen(fd)) << size;
  }
}

TEST(PayloadTest, AdoptRefusesWhatIsNoMemfd) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  EXPECT_FALSE(Payload::AdoptMemfd(ends[0], 0).ok());
  EXPECT_FALSE(Payload::AdoptMemfd(ends[1], 0).ok());
  EXPECT_FALSE(Payload::AdoptMemfd(::open("/dev/zero", O_RDONLY | O_CLOEXEC), 0).ok());
  EXPECT_FALSE(Payload::AdoptMemfd(-1, 0).ok());
}

TEST(PayloadTest, EmptyMemfdWorks) {
  auto payload = Payload::CreateMemfd(0, [](absl::Span<char>) { FAIL() << "nothing to fill"; });
  ASSERT_TRUE(payload.ok()) << payload.status();
  EXPECT_TRUE(payload->empty());
  EXPECT_GE(payload->fd(), 0);
}

TEST(PayloadTest, TheLastCopyClosesTheMemfd) {
  int fd = -1;
  {
    auto payload = Payload::CreateMemfd(10, [](absl::Span<char>) {});
    ASSERT_TRUE(payload.ok());
    fd = payload->fd();
    const Payload copy = *payload;
    *payload = Payload();
    EXPECT_TRUE(IsOpen(fd));
    EXPECT_EQ(copy.size(), 10u);
  }
  EXPECT_FALSE(IsOpen(fd));
}

TEST(PayloadTest, AnAbsurdSizeIsAnErrorAndNotASignal) {
  const auto payload = Payload::CreateMemfd(
      kPayloadBytesMax + 1, [](absl::Span<char>) { FAIL() << "must not be called"; });
  EXPECT_TRUE(absl::IsResourceExhausted(payload.status())) << payload.status();
}

}  // namespace
}  // namespace darkroom
