#pragma once

#include <cstddef>
#include <utility>

namespace darkroom::scheduler {

// How many fields an aggregate has, so that who writes them one by one can be told of a new one.
namespace field_count {

// Stands for a field's value; never made.
struct Anything {
  template <typename T>
  operator T&() const;  // NOLINT(google-explicit-constructor): it must convert to any field
  template <typename T>
  operator T&&() const;  // NOLINT(google-explicit-constructor): likewise
};

template <typename T, size_t... I>
constexpr bool Takes(std::index_sequence<I...>) {
  return requires { T{(static_cast<void>(I), Anything{})...}; };
}

}  // namespace field_count

// Of structs with at most `N` fields: the most values that may stand between T's braces.
template <typename T, size_t N = 64>
constexpr size_t FieldCount() {
  if constexpr (N == 0 || field_count::Takes<T>(std::make_index_sequence<N>{})) {
    return N;
  } else {
    return FieldCount<T, N - 1>();
  }
}

}  // namespace darkroom::scheduler
