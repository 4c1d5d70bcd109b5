// Words that all kernels share: where a thread stands, and sums over a warp or a block.
#pragma once

#include "platform.cuh"

constexpr int kWarp = 32;
constexpr int kMaxWarps = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr float kGramSteps = 1048576.0f;  // similarities are multiples of 1 / kGramSteps

__device__ inline int lane_id() { return threadIdx.x % kWarp; }
__device__ inline int warp_id() { return threadIdx.x / kWarp; }
__device__ inline int warp_count() { return blockDim.x / kWarp; }
__device__ inline int ceil_div(int count, int size) { return (count + size - 1) / size; }

// A similarity in steps: exact for what token_gram makes.
__device__ inline int to_steps(float similarity) { return __float2int_rn(similarity * kGramSteps); }

__device__ inline int warp_sum(int value) {
    for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
    return value;
}

// How many threads before this one have their flag up; `total` is the number in the whole block. Every thread calls it.
// `counts` has kMaxWarps places and is free again when the call returns.
__device__ inline int flags_before(bool flag, int* counts, int& total) {
    const unsigned ballot = __ballot_sync(kAllLanes, flag);
    if (lane_id() == 0) counts[warp_id()] = __popc(ballot);
    __syncthreads();
    int before = __popc(ballot & ((1u << lane_id()) - 1));
    total = 0;
    for (int warp = 0; warp < warp_count(); ++warp) {
        if (warp < warp_id()) before += counts[warp];
        total += counts[warp];
    }
    __syncthreads();
    return before;
}
