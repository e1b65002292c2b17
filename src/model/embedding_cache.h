#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>

#include "absl/container/flat_hash_map.h"
#include "model/prompt_encoder.h"

namespace darkroom {

// Embeddings of prompts that came before, the least recently used leaving first. A tenant only ever
// finds what came of its own prompts: neither results nor their timing tell of another's.
//
// Prompts are overwritten when they leave, and embeddings when nobody holds them any more.
//
// Thread: the executor's.
class EmbeddingCache {
 public:
  // What an embedding is found by. `prompt` is only read during the call.
  struct Key {
    uint64_t tenant_tag = 0;
    std::string_view prompt;
    int tokens = 0;  // what the prompt is padded to
  };

  // `bytes_max`: of prompts, embeddings and what keeping them takes; `entries_max`: prompts. 0 of
  // either: nothing is kept.
  EmbeddingCache(size_t bytes_max, size_t entries_max)
      : bytes_max_(bytes_max), entries_max_(entries_max) {}
  ~EmbeddingCache();
  EmbeddingCache(const EmbeddingCache&) = delete;
  EmbeddingCache& operator=(const EmbeddingCache&) = delete;

  // Null when there is none.
  std::shared_ptr<const PromptEmbedding> Find(const Key& key);
  // Keeps it in the place of what was there, unless it alone is larger than bytes_max.
  std::shared_ptr<const PromptEmbedding> Put(const Key& key, PromptEmbedding embedding);
  // Forgets everything of one tenant.
  void EraseTenant(uint64_t tenant_tag);
  void Clear();

  size_t size() const { return entries_.size(); }
  size_t size_bytes() const { return size_bytes_; }
  // Finds with and without a result, ever.
  int64_t hits() const { return hits_; }
  int64_t misses() const { return misses_; }

 private:
  struct Entry {
    uint64_t tenant_tag = 0;
    std::string prompt;
    int tokens = 0;
    std::shared_ptr<const PromptEmbedding> embedding;
    size_t bytes = 0;
  };
  using Entries = std::list<Entry>;  // most recently used first
  // Views of the entry's own prompt, which a list never moves.
  using Views = std::tuple<uint64_t, std::string_view, int>;

  static Views ViewsOf(const Entry& entry) {
    return {entry.tenant_tag, entry.prompt, entry.tokens};
  }
  void Erase(Entries::iterator entry);

  size_t bytes_max_;
  size_t entries_max_;
  size_t size_bytes_ = 0;
  int64_t hits_ = 0;
  int64_t misses_ = 0;
  Entries entries_;
  absl::flat_hash_map<Views, Entries::iterator> by_key_;
};

}  // namespace darkroom
