#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>

// Runs CUDA kernels on a CPU, for tests. A block's threads are fibers of the calling thread, which
// give way only where they wait for each other, so a run is deterministic; blocks run one after the
// other. What a GPU does by luck is done here by choice, at its worst:
//
// - Threads take turns forwards, backwards or in a shuffled order in which some warps are slow:
// with
//   a barrier missing, one of the orders reads what is not there yet.
// - An asynchronous copy spoils its destination with NaN when it is issued and lands in the last
//   moment that the waits of the program permit: a wait that is missing, or comes too early, shows,
//   and so does a buffer that is filled again while others still read it.
// - Shared memory begins as NaN, and so does what cudaMalloc gives, between guard pages.
//
// What it cannot show: races between the instructions of two threads that do not wait in between,
// the rounding of the tensor cores (sums here are in float64), and speed.

namespace darkroom::emulator {

// A kernel did what no kernel may: lanes that diverged at a collective, a barrier that not all
// reach, a copy to an address that is not aligned. Thrown out of the launch.
class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class Order { kForward, kBackward, kShuffled };

// How the next launches take turns.
void SetOrder(Order order);

// Runs `body` as every thread of every block.
struct Grid {
  uint32_t blocks_x = 1, blocks_y = 1, blocks_z = 1;
  uint32_t threads = 1;
  size_t shared_bytes = 0;
};
void RunGrid(const Grid& grid, const std::function<void()>& body);

// The rest is for the wrappers that stand in for kernels/ptx, and is called by a running thread.

uint8_t* SharedMemory();

// Throws a Fault that names the thread.
[[noreturn]] void Fail(const char* what);

// Waits until the `threads` threads that call this with the same `group` have come. The last one
// runs `operation` on what all of them brought, in the order of the threads; absent: null.
// `name` must be the same for all: a warp whose lanes are at different instructions is a Fault.
struct Meeting {
  int group = 0;
  int threads = 0;
  const char* name = "";
};
// Groups of meetings: warps, then named barriers of the block.
inline constexpr int kBarrierGroup = 1000;
using Operation = void (*)(void** brought, int count);
void Meet(const Meeting& meeting, void* brought, Operation operation);
// All 32 lanes of the calling thread's warp.
void MeetWarp(const char* name, void* brought, Operation operation);

// Waits until `ready` holds. While some thread can run, nothing that is under way lands. Threads
// notice as late as possible, but for the shuffled order, where they notice at their next turn.
void WaitUntil(const char* name, const std::function<bool()>& ready);

// A copy of this thread (cp.async) that lands when the thread waits for its group.
void QueueCopy(const std::function<void()>& land);
void CommitQueuedCopies();
void WaitForCopies(int pending_max);

// A product of this thread (wgmma) that runs as late as its waits permit, but for the shuffled
// order, where it runs at once.
void QueueProduct(const std::function<void()>& multiply);

// Something that runs beside all threads (a bulk copy): it lands when no thread can go on, but for
// the shuffled order, where it lands at once.
void QueueAsync(const std::function<void()>& land);

}  // namespace darkroom::emulator
