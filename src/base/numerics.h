#pragma once

#include <string>

#include "darkroom/v1/worker.pb.h"

namespace darkroom {

// Raised whenever the bits of any output may change: a kernel, a fusion, an order of summation.
inline constexpr uint32_t kNumericsVersion = 1;

// SHA-256 over the fields of `numerics`, each with its name and length, shortened to 32 hex digits.
// Two replicas with the same id give the same bits for the same request (docs: numerics_id).
std::string NumericsId(const v1::Numerics& numerics);

}  // namespace darkroom
