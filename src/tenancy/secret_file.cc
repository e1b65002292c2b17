#include "tenancy/secret_file.h"

#include <fcntl.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/unique_fd.h"

namespace darkroom {
namespace {

absl::Status Unreadable(const std::string& path, const char* what) {
  return Error(absl::StatusCode::kFailedPrecondition, "SECRET_FILE_UNREADABLE",
               absl::StrCat("cannot ", what, " ", path, ": ", std::strerror(errno)));
}

bool WriteAll(int fd, const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

}  // namespace

absl::StatusOr<std::string> ReadSecretFile(const std::string& path, size_t bytes) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (file.get() < 0) return Unreadable(path, "open");
  struct stat about {};
  if (::fstat(file.get(), &about) != 0) return Unreadable(path, "read");
  if ((about.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return absl::Status(Error(absl::StatusCode::kFailedPrecondition, "SECRET_FILE_EXPOSED",
                              absl::StrCat(path,
                                           " can be read by other users; its mode must be "
                                           "0600: chmod 600 ",
                                           path)));
  }
  std::string text(bytes + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = ::read(file.get(), text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Unreadable(path, "read");
    if (n == 0) break;
    size += static_cast<size_t>(n);
  }
  if (size != bytes) {
    return absl::Status(Error(absl::StatusCode::kFailedPrecondition, "SECRET_FILE_INVALID",
                              absl::StrCat(path, " must be exactly ", bytes,
                                           " bytes; restore it from a copy, or "
                                           "remove it, which ends every key")));
  }
  text.resize(bytes);
  return text;
}

absl::Status WriteSecretFile(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".tmp";
  ::unlink(temporary.c_str());
  {
    const UniqueFd file(
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR));
    if (file.get() < 0 || !WriteAll(file.get(), text) || ::fsync(file.get()) != 0) {
      return Unreadable(temporary, "write");
    }
  }
  if (std::rename(temporary.c_str(), path.c_str()) != 0) return Unreadable(path, "write");
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const UniqueFd directory(
      ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || ::fsync(directory.get()) != 0) return Unreadable(folder, "sync");
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadOrMakeSecretFile(const std::string& path, size_t bytes) {
  std::error_code error;
  if (!std::filesystem::exists(std::filesystem::symlink_status(path, error))) {
    std::string random(bytes, '\0');
    if (RAND_bytes(reinterpret_cast<unsigned char*>(random.data()), static_cast<int>(bytes)) != 1) {
      return absl::InternalError("the system gave no random bytes");
    }
    if (absl::Status status = WriteSecretFile(path, random); !status.ok()) return status;
  }
  return ReadSecretFile(path, bytes);
}

}  // namespace darkroom
