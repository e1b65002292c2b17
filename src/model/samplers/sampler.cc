#include "model/samplers/sampler.h"

namespace darkroom {

const Sampler* FindSampler(const Samplers& samplers, std::string_view name) {
  for (const std::unique_ptr<const Sampler>& sampler : samplers) {
    if (name.empty() || sampler->name() == name) return sampler.get();
  }
  return nullptr;
}

}  // namespace darkroom
