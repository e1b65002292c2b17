#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "base/mutex.h"
#include "darkroom/principal.h"

namespace darkroom {

// A counted bound that many calls share: open calls, bytes of large replies. Thread-safe; must
// outlive its permits.
class Budget {
 public:
  explicit Budget(int64_t max) : max_(max) {}

  // Gives back what it took when destroyed. Move-only.
  class Permit {
   public:
    Permit() = default;
    Permit(const Permit&) = delete;
    Permit& operator=(const Permit&) = delete;
    Permit(Permit&& other) noexcept
        : budget_(std::exchange(other.budget_, nullptr)), amount_(other.amount_) {}
    Permit& operator=(Permit&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(amount_, other.amount_);
      return *this;
    }
    ~Permit() {
      if (budget_ != nullptr) budget_->Return(amount_);
    }

   private:
    friend class Budget;
    Permit(Budget* budget, int64_t amount) : budget_(budget), amount_(amount) {}
    Budget* budget_ = nullptr;
    int64_t amount_ = 0;
  };

  // Nothing when `amount` more would exceed the bound. Never blocks.
  std::optional<Permit> TryTake(int64_t amount) {
    MutexLock lock(mutex_);
    if (amount > max_ - taken_) return std::nullopt;
    taken_ += amount;
    return Permit(this, amount);
  }

  int64_t taken() const {
    MutexLock lock(mutex_);
    return taken_;
  }

  // Blocks until every permit was returned.
  void AwaitNoneTaken() {
    MutexLock lock(mutex_);
    while (taken_ > 0) returned_.Wait(mutex_);
  }

 private:
  void Return(int64_t amount) {
    MutexLock lock(mutex_);
    taken_ -= amount;
    // Under the lock: once the waiter sees zero it may destroy this object.
    if (taken_ == 0) returned_.NotifyAll();
  }

  const int64_t max_;
  mutable Mutex mutex_;
  CondVar returned_;
  int64_t taken_ ABSL_GUARDED_BY(mutex_) = 0;
};

// One call of a client, from its first byte until the transport has let go of the last: who calls,
// and what the call holds of shared bounds.
struct Call {
  Principal caller;
  Budget::Permit open;         // one of the open calls
  Budget::Permit reply_bytes;  // set by a handler whose reply is large
};

}  // namespace darkroom
