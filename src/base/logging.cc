#include "base/logging.h"

#include <memory>

#include "base/error.h"
#include "nlohmann/json.hpp"
#include "spdlog/pattern_formatter.h"
#include "spdlog/sinks/stdout_color_sinks.h"

namespace darkroom {
namespace {

// The message as a JSON string: quotes, control characters and broken UTF-8 cannot forge a line.
class EscapedMessage final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    const std::string text =
        nlohmann::json(std::string(message.payload.begin(), message.payload.end()))
            .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<EscapedMessage>();
  }
};

// The message as text, with every control character shown as '?'.
class PlainMessage final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    for (const char c : message.payload) {
      out.push_back(static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c);
    }
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<PlainMessage>();
  }
};

}  // namespace

absl::Status InitLogging(const std::string& process, const std::string& level, bool json) {
  const auto spdlog_level = spdlog::level::from_str(level.empty() ? "info" : level);
  if (spdlog_level == spdlog::level::off) {
    return absl::Status(Error(absl::StatusCode::kInvalidArgument, "LOG_LEVEL_UNKNOWN",
                              "log.level must be debug, info, warning or error")
                            .Field("log.level", "debug, info, warning or error"));
  }
  auto logger = std::make_shared<spdlog::logger>(
      process, std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  if (json) {
    formatter->add_flag<EscapedMessage>('*').set_pattern(
        R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","process":"%n","pid":%P,"message":%*})");
  } else {
    formatter->add_flag<PlainMessage>('*').set_pattern("%H:%M:%S.%e %^%-7l%$ %n[%P] %*");
  }
  logger->set_formatter(std::move(formatter));
  logger->set_level(spdlog_level);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(logger);
  return absl::OkStatus();
}

}  // namespace darkroom
