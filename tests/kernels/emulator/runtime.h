#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "cuda_runtime_api.h"

// CUDA's runtime without a GPU, for tests of what calls it. Device memory is host memory between
// guard pages. As with threads (simt.h), what a GPU does by luck is done here at its worst:
//
// - A stream does nothing until somebody waits for it: who forgets to wait reads NaN.
// - Streams made with cudaStreamNonBlocking do not wait for the default one, and cudaMemset and
//   copies from the host to the device on that one have not run when they return.
// - Copies between the device and memory of cudaMallocHost read or write that memory when they
//   run. Other host memory is read at once, and writing it waits for the stream, as CUDA says.
// - What may not happen while a stream is captured is refused.

namespace darkroom::emulator {

// What cudaGetDeviceCount and the attributes tell, from the next call on. `count` 0: no driver.
// `capability`: 10 * major + minor. At the start: 1 device of 90.
void SetDevices(int count, int capability);

// The allocation after the next `successes` fails, once. Negative: none does.
void FailAllocation(int successes);

// What cudaMalloc, cudaMallocHost and the creations of streams, events and graphs gave and was not
// given back.
int64_t LiveObjects();

// Work that was executed: kernels, copies, fills.
int64_t WorkDone();

// Queues `work` on `stream`, or runs it at once where that is the default one. For launches.
cudaError_t Submit(cudaStream_t stream, std::function<void()> work);

}  // namespace darkroom::emulator
