#pragma once

#include <cstdint>
#include <string>

namespace darkroom::scheduler {

// Schedulers that always have more to do than they can. What was broken, as "G2: ..."; empty:
// nothing was. All of a run follows from the seed.

// G2: tenants that each keep enough ready jobs to fill every replica's batches differ in virtual
// time by at most the burst credit and one largest dispatch of each tenant.
std::string RunSharesTrace(uint64_t seed);

// G5: a late job of a protected tenant ends within its own work over the reserve share, and two
// quanta, however much that is in time arrives.
std::string RunReserveTrace(uint64_t seed);

}  // namespace darkroom::scheduler
