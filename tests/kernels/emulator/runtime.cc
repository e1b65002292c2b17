#include "kernels/emulator/runtime.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "kernels/emulator/guarded_memory.h"

using darkroom::emulator::GuardedMemory;
using Work = std::function<void()>;

// Work in the order in which it was told.
struct EmulatedStream {
  std::deque<Work> waiting;
  int64_t told = 0;
  EmulatedGraph* capture = nullptr;
};
struct EmulatedEvent {
  EmulatedStream* stream = nullptr;
  int64_t after = 0;  // reached when the stream has done so many
};
struct EmulatedGraph {
  std::vector<Work> nodes;
  bool broken = false;
};

namespace {

struct State {
  int devices = 1;
  int capability = 90;
  int allocations_until_failure = -1;
  int64_t objects = 0;
  int64_t work_done = 0;
  std::map<void*, std::unique_ptr<GuardedMemory>> device_memory;
  std::map<void*, size_t> pinned;
  std::set<EmulatedStream*> streams;
  EmulatedStream default_stream;
};

State& state() {
  static auto* all = new State;
  return *all;
}

EmulatedStream& Of(cudaStream_t stream) {
  return stream != nullptr ? *stream : state().default_stream;
}

void RunUntil(EmulatedStream& stream, int64_t done) {
  while (!stream.waiting.empty() &&
         stream.told - static_cast<int64_t>(stream.waiting.size()) < done) {
    const Work work = std::move(stream.waiting.front());
    stream.waiting.pop_front();
    ++state().work_done;
    work();
  }
}

void RunAll(EmulatedStream& stream) { RunUntil(stream, stream.told); }

EmulatedGraph* AnyCapture() {
  for (EmulatedStream* stream : state().streams) {
    if (stream->capture != nullptr) return stream->capture;
  }
  return nullptr;
}

// What a thread may not do while one of its streams is captured breaks the capture, too.
bool BreaksCapture() {
  EmulatedGraph* capture = AnyCapture();
  if (capture != nullptr) capture->broken = true;
  return capture != nullptr;
}

bool IsPinned(const void* pointer) {
  const auto& pinned = state().pinned;
  auto after = pinned.upper_bound(const_cast<void*>(pointer));
  if (after == pinned.begin()) return false;
  --after;
  return static_cast<const uint8_t*>(pointer) <
         static_cast<const uint8_t*>(after->first) + after->second;
}

bool AllocationFails() {
  int& left = state().allocations_until_failure;
  return left >= 0 && left-- == 0;
}

cudaError_t Queue(EmulatedStream& stream, Work work) {
  if (stream.capture != nullptr) {
    stream.capture->nodes.push_back(std::move(work));
    return cudaSuccess;
  }
  stream.waiting.push_back(std::move(work));
  ++stream.told;
  return cudaSuccess;
}

cudaError_t QueueCopy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                      EmulatedStream& stream) {
  const auto copy = [=] {
    if (bytes > 0) std::memcpy(to, from, bytes);
  };
  if (kind == cudaMemcpyDeviceToHost && !IsPinned(to)) {
    if (stream.capture != nullptr) {
      stream.capture->broken = true;
      return cudaErrorStreamCaptureUnsupported;
    }
    RunAll(stream);
    copy();
    return cudaSuccess;
  }
  if (kind == cudaMemcpyHostToDevice && !IsPinned(from)) {
    const auto* bytes_of = static_cast<const uint8_t*>(from);
    return Queue(stream, [to, staged = std::vector<uint8_t>(bytes_of, bytes_of + bytes)] {
      if (!staged.empty()) std::memcpy(to, staged.data(), staged.size());
    });
  }
  return Queue(stream, copy);
}

}  // namespace

namespace darkroom::emulator {

void SetDevices(int count, int capability) {
  state().devices = count;
  state().capability = capability;
}

void FailAllocation(int successes) { state().allocations_until_failure = successes; }

int64_t LiveObjects() { return state().objects; }

int64_t WorkDone() { return state().work_done; }

cudaError_t Submit(cudaStream_t stream, std::function<void()> work) {
  EmulatedStream& to = Of(stream);
  const cudaError_t code = Queue(to, std::move(work));
  // The tests of kernels use the default stream, and want to see a launch's faults where it is.
  if (stream == nullptr) RunAll(to);
  return code;
}

}  // namespace darkroom::emulator

const char* cudaGetErrorString(cudaError_t code) {
  switch (code) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
  }
  return "unknown error";
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = state().devices;
  return *count > 0 ? cudaSuccess : cudaErrorInsufficientDriver;
}

cudaError_t cudaSetDevice(int device) {
  return device >= 0 && device < state().devices ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device < 0 || device >= state().devices) return cudaErrorInvalidDevice;
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
      *value = state().capability / 10;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = state().capability % 10;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = 4;
      break;
  }
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = *total = size_t{1} << 34;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  if (BreaksCapture()) return cudaErrorStreamCaptureUnsupported;
  RunAll(state().default_stream);
  for (EmulatedStream* stream : state().streams) RunAll(*stream);
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  if (BreaksCapture()) return cudaErrorStreamCaptureUnsupported;
  if (AllocationFails()) return cudaErrorMemoryAllocation;
  // 16 bytes are what kernels may rely on; CUDA's 256 would hide what lies behind the end.
  auto memory = std::make_unique<GuardedMemory>(bytes > 0 ? bytes : 1, 16);
  *pointer = memory->data();
  state().device_memory[*pointer] = std::move(memory);
  ++state().objects;
  return cudaSuccess;
}

cudaError_t cudaFree(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  if (BreaksCapture()) return cudaErrorStreamCaptureUnsupported;
  cudaDeviceSynchronize();
  auto& memory = state().device_memory;
  const auto found = memory.find(pointer);
  if (found == memory.end()) return cudaErrorInvalidValue;
  if (!found->second->Intact()) {
    std::fprintf(stderr, "a kernel wrote behind the end of its memory\n");
    std::abort();
  }
  memory.erase(found);
  --state().objects;
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  if (BreaksCapture()) return cudaErrorStreamCaptureUnsupported;
  if (AllocationFails()) return cudaErrorMemoryAllocation;
  *pointer = std::malloc(bytes > 0 ? bytes : 1);
  std::memset(*pointer, 0xff, bytes);
  state().pinned[*pointer] = bytes;
  ++state().objects;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  cudaDeviceSynchronize();
  if (state().pinned.erase(pointer) == 0) return cudaErrorInvalidValue;
  std::free(pointer);
  --state().objects;
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (BreaksCapture()) return cudaErrorStreamCaptureUnsupported;
  return QueueCopy(to, from, bytes, kind, state().default_stream);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return QueueCopy(to, from, bytes, kind, Of(stream));
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  if (BreaksCapture()) return cudaErrorStreamCaptureUnsupported;
  return cudaMemsetAsync(to, value, bytes, nullptr);
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return Queue(Of(stream), [=] { std::memset(to, value, bytes); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned /*flags*/) {
  if (AllocationFails()) return cudaErrorMemoryAllocation;
  *stream = new EmulatedStream;
  state().streams.insert(*stream);
  ++state().objects;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  // What it was told still happens, later.
  if (stream->capture == nullptr) RunAll(*stream);
  state().streams.erase(stream);
  delete stream;
  --state().objects;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (Of(stream).capture != nullptr) {
    stream->capture->broken = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  RunAll(Of(stream));
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned /*flags*/) {
  if (AllocationFails()) return cudaErrorMemoryAllocation;
  *event = new EmulatedEvent;
  ++state().objects;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  --state().objects;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->stream = &Of(stream);
  event->after = event->stream->told;
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->stream == nullptr) return cudaSuccess;
  if (BreaksCapture()) return cudaErrorStreamCaptureUnsupported;
  RunUntil(*event->stream, event->after);
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode /*mode*/) {
  if (stream == nullptr || stream->capture != nullptr) return cudaErrorInvalidValue;
  stream->capture = new EmulatedGraph;
  ++state().objects;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (stream == nullptr || stream->capture == nullptr) return cudaErrorInvalidValue;
  EmulatedGraph* captured = std::exchange(stream->capture, nullptr);
  if (!captured->broken) {
    *graph = captured;
    return cudaSuccess;
  }
  cudaGraphDestroy(captured);
  return cudaErrorStreamCaptureInvalidated;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph,
                                 unsigned long long /*flags*/) {
  if (AllocationFails()) return cudaErrorMemoryAllocation;
  *exec = new EmulatedGraph(*graph);
  ++state().objects;
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  for (const Work& node : exec->nodes) Queue(Of(stream), node);
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  --state().objects;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { return cudaGraphDestroy(exec); }
