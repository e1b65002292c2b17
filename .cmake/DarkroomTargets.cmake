# The build's own vocabulary: a layer is a folder and a static library, a program is one file in
# src/main, a test mirrors the source file it tests.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

find_program(DARKROOM_CCACHE ccache)
if(DARKROOM_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${DARKROOM_CCACHE}")
  set(CMAKE_CUDA_COMPILER_LAUNCHER "${DARKROOM_CCACHE}")
endif()

# mold links the gRPC binaries in a second where GNU ld takes ten.
find_program(DARKROOM_MOLD mold)
find_program(DARKROOM_LLD ld.lld)
if(DARKROOM_MOLD)
  add_link_options(-fuse-ld=mold)
elseif(DARKROOM_LLD)
  add_link_options(-fuse-ld=lld)
endif()

set(DARKROOM_SANITIZER "" CACHE STRING "address (with undefined), thread, fuzz, or empty")
if(DARKROOM_SANITIZER STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(DARKROOM_SANITIZER STREQUAL "fuzz")
  # For libFuzzer, which only clang has.
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(DARKROOM_SANITIZER STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
endif()

macro(darkroom_find_packages)
  find_package(Threads REQUIRED)
  find_package(Protobuf REQUIRED)
  find_package(absl REQUIRED)
  find_package(spdlog REQUIRED)
  find_package(gRPC CONFIG REQUIRED)
  find_package(OpenSSL REQUIRED)
  find_package(SQLite3 REQUIRED)
  find_package(PNG REQUIRED)
  find_package(JPEG REQUIRED)
  find_package(WebP REQUIRED)
  find_package(nlohmann_json REQUIRED)
  find_package(ICU REQUIRED COMPONENTS uc)
  find_package(CLI11 REQUIRED)
  find_package(yaml-cpp REQUIRED)
  # The name that yaml-cpp 0.8 gives it; Debian 12 has 0.7.
  if(NOT TARGET yaml-cpp::yaml-cpp)
    add_library(yaml-cpp::yaml-cpp ALIAS yaml-cpp)
  endif()
  find_package(Dnnl REQUIRED)
  find_package(OpenMP REQUIRED COMPONENTS CXX)
  if(DARKROOM_WITH_TESTS)
    find_package(GTest REQUIRED)
    find_package(benchmark REQUIRED)
  endif()
  if(DARKROOM_WITH_CUDA)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real)
    enable_language(CUDA)
    # CMake 3.25 does not know that nvcc has C++20, the standard that CUDA takes over from C++ here.
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    find_package(CUDAToolkit 12.4 REQUIRED)
  endif()
endmacro()

# Warnings for our own code only: generated code does not call this.
function(darkroom_strict target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Werror -Wno-unused-parameter
                         -Wno-missing-field-initializers -Walloca -Wvla)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ 12 warns falsely inside std::string (GCC bug 105651).
    target_compile_options(${target} PRIVATE -Wno-restrict)
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    target_compile_options(${target} PRIVATE -Wthread-safety)
  endif()
endfunction()

# darkroom_layer(name SOURCES a.cc b.cc DEPENDS base absl::status ...)
# The library darkroom_<name>; DEPENDS names other layers bare and libraries by their target.
function(darkroom_layer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  set(target darkroom_${name})
  if(ARG_SOURCES)
    add_library(${target} STATIC ${ARG_SOURCES})
    set(scope PUBLIC)
    darkroom_strict(${target})
  else()
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(${target} ${scope} "${CMAKE_SOURCE_DIR}/include"
                             "${CMAKE_SOURCE_DIR}/src")
  darkroom_depend(${target} ${scope} ${ARG_DEPENDS})
endfunction()

# darkroom_program(darkroomd SOURCES daemon.cc DEPENDS gateway engine)
function(darkroom_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  darkroom_strict(${name})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}/include"
                             "${CMAKE_SOURCE_DIR}/src")
  darkroom_depend(${name} PRIVATE ${ARG_DEPENDS})
  # Libraries in ../lib come first, for the libraries' own needs too, so that bin/ and lib/ can be
  # carried to a machine where nothing is installed (deploy/package.sh).
  set_target_properties(${name} PROPERTIES BUILD_RPATH "$ORIGIN/../lib")
  target_link_options(${name} PRIVATE -Wl,--disable-new-dtags)
endfunction()

# darkroom_test(name SOURCES x_test.cc DEPENDS store [TIMEOUT seconds] [LABELS ...] [SERIAL])
# One GoogleTest binary, one ctest entry.
function(darkroom_test name)
  cmake_parse_arguments(ARG "SERIAL" "TIMEOUT" "SOURCES;DEPENDS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  darkroom_strict(${name})
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}/include"
                             "${CMAKE_SOURCE_DIR}/src" "${CMAKE_SOURCE_DIR}/tests")
  target_compile_definitions(${name} PRIVATE
    DARKROOM_SOURCE_DIR="${CMAKE_SOURCE_DIR}" DARKROOM_BIN_DIR="${CMAKE_BINARY_DIR}/bin")
  darkroom_depend(${name} PRIVATE ${ARG_DEPENDS} GTest::gmock GTest::gtest GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
  if(ARG_SERIAL)
    set_tests_properties(${name} PROPERTIES RUN_SERIAL TRUE)
  endif()
endfunction()

# Layers are named bare (store), everything else by its CMake target (absl::status, dl).
function(darkroom_depend target scope)
  foreach(dependency ${ARGN})
    if(EXISTS "${CMAKE_SOURCE_DIR}/src/${dependency}/CMakeLists.txt" OR dependency STREQUAL "proto"
       OR dependency STREQUAL "proto_grpc" OR dependency STREQUAL "testing")
      target_link_libraries(${target} ${scope} darkroom_${dependency})
    else()
      target_link_libraries(${target} ${scope} ${dependency})
    endif()
  endforeach()
endfunction()
