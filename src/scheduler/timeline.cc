#include "scheduler/timeline.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace darkroom::scheduler {
namespace {

bool Before(const Timeline::Entry& a, const Timeline::Entry& b) {
  return a.deadline_ns != b.deadline_ns ? a.deadline_ns < b.deadline_ns : a.job < b.job;
}

int64_t Stretched(int64_t nanos, double capacity) {
  return static_cast<int64_t>(std::ceil(static_cast<double>(nanos) / capacity));
}

}  // namespace

void Timeline::Add(const Entry& entry) {
  entries_.insert(std::upper_bound(entries_.begin(), entries_.end(), entry, Before), entry);
}

void Timeline::Remove(JobId job) {
  std::erase_if(entries_, [job](const Entry& entry) { return entry.job == job; });
}

void Timeline::SetLeft(JobId job, int64_t left_ns) {
  for (Entry& entry : entries_) {
    if (entry.job == job) entry.left_ns = left_ns;
  }
}

int64_t Timeline::Room(int64_t start_ns) const {
  int64_t room = std::numeric_limits<int64_t>::max();
  int64_t ahead_ns = 0;
  for (const Entry& entry : entries_) {
    ahead_ns += entry.left_ns;
    room = std::min(room, entry.deadline_ns - start_ns - ahead_ns);
  }
  return room;
}

bool Timeline::Fits(const Entry& entry, int64_t start_ns, double capacity) const {
  int64_t ahead_ns = 0;
  bool counted = false;
  const auto in_time = [&](const Entry& due) {
    return Stretched(ahead_ns, capacity) <= due.deadline_ns - start_ns;
  };
  for (const Entry& due : entries_) {
    if (!counted && Before(entry, due)) {
      counted = true;
      ahead_ns += entry.left_ns;
      if (!in_time(entry)) return false;
    }
    ahead_ns += due.left_ns;
    // Those before it are not concerned by it.
    if (counted && !in_time(due)) return false;
  }
  if (counted) return true;
  ahead_ns += entry.left_ns;
  return in_time(entry);
}

int64_t Timeline::EarliestDeadline(int64_t left_ns, int64_t start_ns, double capacity) const {
  // Behind entry k it ends once everything up to k and itself is done; the first place where those
  // after it still fit is the earliest.
  int64_t ahead_ns = left_ns;
  int64_t not_before_ns = 0;
  for (size_t place = 0; place <= entries_.size(); ++place) {
    const int64_t deadline_ns = std::max(start_ns + Stretched(ahead_ns, capacity), not_before_ns);
    const bool in_place = place == entries_.size() || deadline_ns < entries_[place].deadline_ns;
    if (in_place && Fits({0, deadline_ns, left_ns}, start_ns, capacity)) return deadline_ns;
    if (place == entries_.size()) return deadline_ns;
    ahead_ns += entries_[place].left_ns;
    not_before_ns = entries_[place].deadline_ns + 1;
  }
  return kNoDeadline;
}

}  // namespace darkroom::scheduler
