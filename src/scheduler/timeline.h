#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/types.h"

namespace darkroom::scheduler {

// The guarantees of one replica. It can keep them all, earliest deadline first, as long as for
// every deadline D: start + (what is left of the jobs due by D) <= D. A quantum of others may run
// while there is room for it before each deadline.
class Timeline {
 public:
  struct Entry {
    JobId job = 0;
    int64_t deadline_ns = 0;
    int64_t left_ns = 0;  // worst case: the prediction and its error
  };

  bool empty() const { return entries_.empty(); }
  const std::vector<Entry>& entries() const { return entries_; }

  void Add(const Entry& entry);
  void Remove(JobId job);
  // The job has so much left now.
  void SetLeft(JobId job, int64_t left_ns);
  // The job with the earliest deadline; the timeline is not empty.
  const Entry& First() const { return entries_.front(); }

  // The longest that other work may take from `start_ns` on so that every guarantee is kept; below
  // 0: they are not even without. The largest number when there are none.
  int64_t Room(int64_t start_ns) const;
  // Whether `entry` may be added, if from `start_ns` on only `capacity` (0 to 1) of the time is for
  // guarantees.
  bool Fits(const Entry& entry, int64_t start_ns, double capacity) const;
  // The earliest deadline with which a job of `left_ns` would fit.
  int64_t EarliestDeadline(int64_t left_ns, int64_t start_ns, double capacity) const;

 private:
  std::vector<Entry> entries_;  // by deadline, then job
};

}  // namespace darkroom::scheduler
