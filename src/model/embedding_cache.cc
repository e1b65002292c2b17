#include "model/embedding_cache.h"

#include <string.h>

#include <iterator>
#include <utility>
#include <vector>

namespace darkroom {
namespace {

// Writes that the compiler may not leave out.
void Wipe(std::vector<float>& values) {
  explicit_bzero(values.data(), values.size() * sizeof(float));
}

// Whoever lets go of it last overwrites it: a job may hold it longer than the cache.
std::shared_ptr<const PromptEmbedding> MakeWiped(PromptEmbedding embedding) {
  return {new PromptEmbedding(std::move(embedding)), [](PromptEmbedding* held) {
            Wipe(held->hidden);
            Wipe(held->pooled);
            delete held;
          }};
}

}  // namespace

EmbeddingCache::~EmbeddingCache() { Clear(); }

std::shared_ptr<const PromptEmbedding> EmbeddingCache::Find(const Key& key) {
  const auto found = by_key_.find({key.tenant_tag, key.prompt, key.tokens});
  if (found == by_key_.end()) {
    ++misses_;
    return nullptr;
  }
  ++hits_;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->embedding;
}

std::shared_ptr<const PromptEmbedding> EmbeddingCache::Put(const Key& key,
                                                           PromptEmbedding embedding) {
  const auto found = by_key_.find({key.tenant_tag, key.prompt, key.tokens});
  if (found != by_key_.end()) Erase(found->second);
  const size_t bytes = sizeof(Entry) + sizeof(*by_key_.begin()) + sizeof(PromptEmbedding) +
                       key.prompt.size() +
                       (embedding.hidden.size() + embedding.pooled.size()) * sizeof(float);
  std::shared_ptr<const PromptEmbedding> shared = MakeWiped(std::move(embedding));
  if (bytes > bytes_max_ || entries_max_ == 0) return shared;
  while (size_bytes_ + bytes > bytes_max_ || entries_.size() == entries_max_) {
    Erase(std::prev(entries_.end()));
  }
  entries_.push_front({.tenant_tag = key.tenant_tag,
                       .prompt = std::string(key.prompt),
                       .tokens = key.tokens,
                       .embedding = shared,
                       .bytes = bytes});
  by_key_.emplace(ViewsOf(entries_.front()), entries_.begin());
  size_bytes_ += bytes;
  return shared;
}

void EmbeddingCache::Erase(Entries::iterator entry) {
  by_key_.erase(ViewsOf(*entry));
  size_bytes_ -= entry->bytes;
  explicit_bzero(entry->prompt.data(), entry->prompt.size());
  entries_.erase(entry);
}

void EmbeddingCache::EraseTenant(uint64_t tenant_tag) {
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const auto next = std::next(entry);
    if (entry->tenant_tag == tenant_tag) Erase(entry);
    entry = next;
  }
}

void EmbeddingCache::Clear() {
  while (!entries_.empty()) Erase(entries_.begin());
}

}  // namespace darkroom
