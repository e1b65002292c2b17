#include "kernels/emulator/simt.h"

#include <cuda_runtime_api.h>
#include <ucontext.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/emulator/guarded_memory.h"

namespace darkroom::emulator {
namespace {

constexpr size_t kStackBytes = size_t{128} << 10;
constexpr int kWarp = 32;

using Copies = std::vector<std::function<void()>>;

// Where a fiber goes on. Its first turn begins in a context on a stack of its own (makecontext);
// after that turns change by _setjmp and _longjmp, which leave the signal mask alone and so need no
// system call: ten times faster than swapcontext, and a kernel has a million of them.
struct Place {
  jmp_buf at;
};
void Leave(Place& here, const Place& there) {
  if (_setjmp(here.at) == 0) _longjmp(const_cast<Place&>(there).at, 1);
}

struct Thread {
  int index = 0;
  ucontext_t context = {};
  Place place = {};
  bool started = false;
  std::unique_ptr<uint8_t[]> stack;
  bool done = false;
  bool runnable = true;
  std::function<bool()> ready;  // when it waits for something that nobody announces
  const char* waits_for = "";
  Copies issued;
  std::deque<Copies> committed;
};

// Threads that wait for each other at one place.
struct Gathering {
  const char* name = nullptr;
  int expected = 0;
  std::vector<std::pair<Thread*, void*>> come;
};

void Land(Copies& copies) {
  for (const auto& land : copies) land();
  copies.clear();
}

// One block, from its first thread's start to its last one's end.
class Block {
 public:
  Block(std::vector<Thread>& threads, uint32_t count, uint8_t* shared,
        const std::function<void()>& body)
      : threads_(threads), count_(count), shared_(shared), body_(body) {}

  void Run(const std::vector<uint32_t>& order);
  static void Enter();
  void Yield() { Leave(current_->place, scheduler_); }

  Thread* current() { return current_; }
  uint8_t* shared() { return shared_; }
  uint32_t count() const { return count_; }
  std::map<int, Gathering>& gatherings() { return gatherings_; }
  std::deque<std::function<void()>>& under_way() { return under_way_; }

 private:
  void Start(Thread& thread, int index);
  void Switch(Thread& thread);
  // Lets a thread go on whose predicate holds now.
  static bool WakeIfReady(Thread& thread);
  // What nobody's turn brought about: predicates that hold now, or else one thing that lands.
  bool Wake();
  std::string Describe() const;

  std::vector<Thread>& threads_;
  const uint32_t count_;
  uint8_t* const shared_;
  const std::function<void()>& body_;
  Place scheduler_ = {};
  Thread* current_ = nullptr;
  std::exception_ptr fault_;
  std::map<int, Gathering> gatherings_;
  std::deque<std::function<void()>> under_way_;
};

Block* running = nullptr;
Order order_of_launches = Order::kForward;

void Block::Enter() {
  Block* block = running;
  Thread* thread = block->current_;
  try {
    block->body_();
    // A thread that ends without a wait gets its copies nowhere: the destination stays NaN.
  } catch (...) {
    block->fault_ = std::current_exception();
  }
  thread->done = true;
  thread->runnable = false;
  _longjmp(block->scheduler_.at, 1);
}

void Block::Start(Thread& thread, int index) {
  if (thread.stack == nullptr) thread.stack.reset(new uint8_t[kStackBytes]);
  thread.index = index;
  thread.done = false;
  thread.started = false;
  thread.runnable = true;
  thread.ready = nullptr;
  thread.issued.clear();
  thread.committed.clear();
  getcontext(&thread.context);
  thread.context.uc_stack.ss_sp = thread.stack.get();
  thread.context.uc_stack.ss_size = kStackBytes;
  thread.context.uc_link = nullptr;
  makecontext(&thread.context, &Block::Enter, 0);
}

void Block::Switch(Thread& thread) {
  current_ = &thread;
  threadIdx = dim3(static_cast<unsigned>(thread.index), 0, 0);
  if (thread.started) {
    Leave(scheduler_, thread.place);
  } else if (_setjmp(scheduler_.at) == 0) {
    thread.started = true;
    setcontext(&thread.context);
  }
  if (fault_) std::rethrow_exception(fault_);
}

bool Block::WakeIfReady(Thread& thread) {
  if (thread.done || thread.runnable || !thread.ready || !thread.ready()) return false;
  thread.ready = nullptr;
  thread.runnable = true;
  return true;
}

bool Block::Wake() {
  bool woken = false;
  for (uint32_t i = 0; i < count_; ++i) {
    woken = WakeIfReady(threads_[i]) || woken;
  }
  if (woken || under_way_.empty()) return woken;
  const auto land = std::move(under_way_.front());
  under_way_.pop_front();
  land();
  return true;
}

std::string Block::Describe() const {
  std::map<std::string, int> waiting;
  int done = 0;
  for (uint32_t i = 0; i < count_; ++i) {
    if (threads_[i].done) {
      ++done;
    } else {
      ++waiting[threads_[i].waits_for];
    }
  }
  std::string text = "deadlock: " + std::to_string(done) + " threads have ended";
  for (const auto& [name, threads] : waiting) {
    text += ", " + std::to_string(threads) + " wait at " + name;
  }
  return text;
}

// In the shuffled order a third of the warps run in every eighth round only: others get far ahead.
bool IsSlow(uint32_t warp, uint32_t round) {
  return order_of_launches == Order::kShuffled && (warp + blockIdx.x) % 3 == 1 && round % 8 != 0;
}

void Block::Run(const std::vector<uint32_t>& order) {
  running = this;
  for (uint32_t i = 0; i < count_; ++i) Start(threads_[i], static_cast<int>(i));
  uint32_t live = count_;
  for (uint32_t round = 0; live > 0; ++round) {
    bool progress = false;
    for (const uint32_t i : order) {
      Thread& thread = threads_[i];
      if (IsSlow(i / kWarp, round)) {
        progress = progress || (thread.runnable && !thread.done);
        continue;
      }
      if (order_of_launches == Order::kShuffled) WakeIfReady(thread);
      if (thread.done || !thread.runnable) continue;
      Switch(thread);
      live -= thread.done ? 1 : 0;
      progress = true;
    }
    if (!progress && !Wake()) throw Fault(Describe());
  }
  running = nullptr;
}

std::vector<uint32_t> TurnsOf(uint32_t threads, uint32_t block) {
  std::vector<uint32_t> turns(threads);
  std::iota(turns.begin(), turns.end(), 0u);
  if (order_of_launches == Order::kBackward) std::reverse(turns.begin(), turns.end());
  if (order_of_launches == Order::kShuffled) {
    std::shuffle(turns.begin(), turns.end(), std::mt19937(block));
  }
  return turns;
}

// Back to the caller's state however a launch ends.
struct LaunchEnd {
  LaunchEnd() = default;
  LaunchEnd(const LaunchEnd&) = delete;
  LaunchEnd& operator=(const LaunchEnd&) = delete;
  ~LaunchEnd() { running = nullptr; }
};

}  // namespace

void SetOrder(Order order) { order_of_launches = order; }

void RunGrid(const Grid& grid, const std::function<void()>& body) {
  static std::vector<Thread> threads;  // their stacks are kept for the next launch
  if (threads.size() < grid.threads) threads.resize(grid.threads);
  const LaunchEnd end;
  GuardedMemory shared(std::max<size_t>(grid.shared_bytes, 1), 1024);
  blockDim = dim3(grid.threads);
  gridDim = dim3(grid.blocks_x, grid.blocks_y, grid.blocks_z);
  for (uint32_t z = 0; z < grid.blocks_z; ++z) {
    for (uint32_t y = 0; y < grid.blocks_y; ++y) {
      for (uint32_t x = 0; x < grid.blocks_x; ++x) {
        blockIdx = dim3(x, y, z);
        std::memset(shared.data(), 0xff, grid.shared_bytes);
        Block(threads, grid.threads, shared.data(), body).Run(TurnsOf(grid.threads, x));
        if (!shared.Intact()) throw Fault("wrote behind the end of shared memory");
      }
    }
  }
}

uint8_t* SharedMemory() { return running->shared(); }

void Fail(const char* what) {
  throw Fault("block " + std::to_string(blockIdx.x) + ", thread " + std::to_string(threadIdx.x) +
              ": " + what);
}

void Meet(const Meeting& meeting, void* brought, Operation operation) {
  Block& block = *running;
  Thread* self = block.current();
  Gathering& gathering = block.gatherings()[meeting.group];
  if (gathering.come.empty()) {
    gathering.name = meeting.name;
    gathering.expected = meeting.threads;
  } else if (std::strcmp(gathering.name, meeting.name) != 0) {
    const std::string text = std::string("diverged: at ") + meeting.name +
                             " while others of its warp are at " + gathering.name;
    Fail(text.c_str());
  } else if (gathering.expected != meeting.threads) {
    Fail("a barrier that its threads expect different numbers at");
  }
  gathering.come.emplace_back(self, brought);
  if (static_cast<int>(gathering.come.size()) < meeting.threads) {
    self->runnable = false;
    self->waits_for = meeting.name;
    block.Yield();
    return;
  }
  auto come = std::exchange(gathering.come, {});
  std::sort(come.begin(), come.end(),
            [](const auto& a, const auto& b) { return a.first->index < b.first->index; });
  std::vector<void*> all;
  all.reserve(come.size());
  for (const auto& [thread, what] : come) all.push_back(what);
  operation(all.data(), static_cast<int>(all.size()));
  for (const auto& [thread, what] : come) thread->runnable = true;
}

void MeetWarp(const char* name, void* brought, Operation operation) {
  const int warp = running->current()->index / kWarp;
  if ((warp + 1) * kWarp > static_cast<int>(running->count())) {
    Fail("a collective in a warp that has fewer than 32 threads");
  }
  Meet({warp, kWarp, name}, brought, operation);
}

void WaitUntil(const char* name, const std::function<bool()>& ready) {
  if (ready()) return;
  Thread* self = running->current();
  self->ready = ready;
  self->runnable = false;
  self->waits_for = name;
  running->Yield();
}

void QueueCopy(const std::function<void()>& land) { running->current()->issued.push_back(land); }

void CommitQueuedCopies() {
  Thread* self = running->current();
  self->committed.push_back(std::exchange(self->issued, {}));
}

void WaitForCopies(int pending_max) {
  Thread* self = running->current();
  while (static_cast<int>(self->committed.size()) > pending_max) {
    Land(self->committed.front());
    self->committed.pop_front();
  }
}

void QueueProduct(const std::function<void()>& multiply) {
  if (order_of_launches == Order::kShuffled) {
    multiply();
  } else {
    QueueCopy(multiply);
  }
}

void QueueAsync(const std::function<void()>& land) {
  if (order_of_launches == Order::kShuffled) {
    land();
  } else {
    running->under_way().push_back(land);
  }
}

}  // namespace darkroom::emulator
