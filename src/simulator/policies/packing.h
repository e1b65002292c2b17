#pragma once

#include <vector>

#include "simulator/policy.h"

namespace darkroom::simulator {

// Jobs that wait, in the order of `world.active`.
std::vector<JobIndex> Idle(const World& world);

// That `degree` accelerators from `gpu` on are neither busy nor lost.
bool IsFree(const World& world, int gpu, int degree);

// Gives each `degree` free accelerators a batch: takes jobs from the front of `order` while they
// fit under the knee; the first always goes. With `equal_keys`, and where weights are loaded, only
// jobs of the first one's model join, and with adapters those that are there. Where weights are
// loaded, `degree` is 1.
void PackInOrder(const World& world, std::vector<JobIndex> order, bool equal_keys, int degree,
                 LruWeights& weights, std::vector<Quantum>& start);

// Of those that wait, in order, the one that an accelerator begins with: the first whose weights it
// holds or nobody does; when there is none, the first, whose weights get another copy.
// Where loads run beside quanta it is the first whose weights it holds, or none (the order's size);
// those of the first before it that nobody holds begin to be loaded, or, where there is nothing to
// run, of the first.
size_t HeadFor(const World& world, int gpu, const std::vector<JobIndex>& order,
               LruWeights& weights);

}  // namespace darkroom::simulator
