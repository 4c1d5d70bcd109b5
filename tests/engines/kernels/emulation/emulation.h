// A GPU as the kernels see it, on the host: what platform.cuh takes from here instead of from CUDA's compiler.
//
// Every thread is a fiber that runs until it waits for others, several blocks are under way at once, and who goes next
// is drawn by lot, so a missing barrier shows as a wrong result. Shared memory starts as noise and has guard zones.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define __device__
#define __restrict__ __restrict
#define CLASP_KERNEL(threads) extern "C" void
#define CLASP_SHARED(type, name, count) \
    type* const name = static_cast<type*>(emulation::shared(__COUNTER__, sizeof(type) * (count)))
#define CLASP_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(emulation::dynamic_shared())

using std::max;
using std::min;

namespace emulation {

struct Dim {
    unsigned x, y, z;
};

enum class Wait { none, warp, block, over };

void* shared(int id, std::size_t bytes);  // this block's memory of that declaration
void* dynamic_shared();
void wait_for(Wait whom);
void maybe_pause();  // lets others run, now and then: where memory that blocks share is touched

constexpr int kLanes = 32;
constexpr std::size_t kSlotBytes = 8;
std::uint8_t* exchange_slots();  // of this warp, for its current collective operation; kLanes * kSlotBytes
int lane();

// All lanes show each other a value. The operations of a warp take turns with two sets of slots, so that a lane that
// hurries ahead overwrites nothing that another still reads.
template <typename T>
struct Shown {
    T of_lane[kLanes];
};
template <typename T>
Shown<T> show(const T& mine) {
    static_assert(sizeof(T) <= kSlotBytes, "slot too small");
    std::uint8_t* slots = exchange_slots();
    std::memcpy(slots + lane() * kSlotBytes, &mine, sizeof(T));
    wait_for(Wait::warp);
    Shown<T> all;
    for (int each = 0; each < kLanes; ++each) std::memcpy(&all.of_lane[each], slots + each * kSlotBytes, sizeof(T));
    return all;
}

template <typename To, typename From>
To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From), "same size");
    To to;
    std::memcpy(&to, &from, sizeof(To));
    return to;
}

}  // namespace emulation

extern emulation::Dim threadIdx, blockIdx, blockDim, gridDim;

inline void __syncthreads() { emulation::wait_for(emulation::Wait::block); }

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
    return emulation::show(value).of_lane[emulation::lane() ^ mask];
}
inline unsigned __ballot_sync(unsigned, bool flag) {
    const auto all = emulation::show(flag);
    unsigned ballot = 0;
    for (int each = 0; each < emulation::kLanes; ++each) ballot |= unsigned(all.of_lane[each]) << each;
    return ballot;
}
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

template <typename T, typename U>
T atomicAdd(T* place, U value) {
    emulation::maybe_pause();
    const T old = *place;
    *place = old + value;
    return old;
}
inline int atomicOr(int* place, int value) {
    emulation::maybe_pause();
    const int old = *place;
    *place = old | value;
    return old;
}
inline unsigned long long atomicMax(unsigned long long* place, unsigned long long value) {
    emulation::maybe_pause();
    const unsigned long long old = *place;
    *place = std::max(old, value);
    return old;
}

inline unsigned __float_as_uint(float value) { return emulation::bits_as<unsigned>(value); }
inline float __uint_as_float(unsigned bits) { return emulation::bits_as<float>(bits); }
inline float __ll2float_rn(long long value) { return static_cast<float>(value); }
inline float __fsqrt_rn(float value) { return std::sqrt(value); }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline int __float2int_rn(float value) {
    if (!(value == value)) return 0;
    const double rounded = std::nearbyint(value);
    return static_cast<int>(std::min(std::max(rounded, -2147483648.0), 2147483647.0));
}
