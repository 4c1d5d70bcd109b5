// Seeds: the tokens least similar to any pivot (Eq. 13), valid ones first.
#pragma once

#include "rank.cuh"

constexpr unsigned kPivotKey = 0xffffffffu;  // behind all that can be a seed

// Smaller keys are better seeds. `redundancy` is in steps, at most +-2**20.
__device__ inline unsigned seed_key(int redundancy, bool valid) {
    const int behind_all_valid = 1 << 22;
    return static_cast<unsigned>(redundancy + (valid ? 0 : behind_all_valid)) ^ 0x80000000u;
}

// Keys of all tokens. A block owns 32 columns of the Gram matrix; its warps share out the pivots' rows.
CLASP_KERNEL(1024)
clasp_redundancy(const float* __restrict__ gram, const uint8* __restrict__ pivots, unsigned* keys, int batch,
                 int tokens) {
    CLASP_SHARED(int, highest_of_warp, kMaxWarps* kWarp);
    const int none = -0x7fffffff, tiles = ceil_div(tokens, kWarp);
    for (int item = blockIdx.x; item < batch * tiles; item += gridDim.x) {
        const int image = item / tiles, token = item % tiles * kWarp + lane_id();
        const float* matrix = gram + static_cast<int64>(image) * tokens * tokens;
        const uint8* marks = pivots + image * tokens;
        int highest = none;
        if (token < tokens) {
#pragma unroll 4
            for (int row = warp_id(); row < tokens; row += warp_count()) {
                if (marks[row]) {
                    const int steps = to_steps(matrix[static_cast<int64>(row) * tokens + token]);
                    highest = steps > highest ? steps : highest;
                }
            }
        }
        highest_of_warp[threadIdx.x] = highest;
        __syncthreads();
        if (warp_id() == 0 && token < tokens) {
            for (int warp = 1; warp < warp_count(); ++warp) {
                const int other = highest_of_warp[warp * kWarp + lane_id()];
                highest = other > highest ? other : highest;
            }
            const bool valid = matrix[static_cast<int64>(token) * tokens + token] != 0.0f;
            const unsigned key = marks[token] ? kPivotKey : seed_key(highest == none ? 0 : highest, valid);
            keys[image * tokens + token] = key;
        }
        __syncthreads();  // before the next item overwrites highest_of_warp
    }
}

// Lists tokens from the best seed to the worst, pivots last, and counts the clusters that pivots leave of `keep`.
CLASP_KERNEL(1024)
clasp_seed_rank(const unsigned* __restrict__ all_keys, int* ranked, int* clusters, int batch, int tokens, int keep) {
    CLASP_DYNAMIC_SHARED(unsigned, keys);
    const int tiles = ceil_div(tokens, kWarp);
    for (int item = blockIdx.x; item < batch * tiles; item += gridDim.x) {
        const int image = item / tiles, first = item % tiles * kWarp;
        for (int token = threadIdx.x; token < tokens; token += blockDim.x) {
            keys[token] = all_keys[image * tokens + token];
        }
        __syncthreads();
        const int end = first + kWarp < tokens ? first + kWarp : tokens;
        for (int token = first + warp_id(); token < end; token += warp_count()) {
            const int rank = rank_of(token, keys, tokens);
            if (lane_id() == 0) ranked[image * tokens + rank] = token;
        }
        if (first == 0 && warp_id() == 0) {
            int pivots = 0;
            for (int token = lane_id(); token < tokens; token += kWarp) pivots += keys[token] == kPivotKey;
            pivots = warp_sum(pivots);
            if (lane_id() == 0) clusters[image] = pivots < keep ? keep - pivots : 0;
        }
        __syncthreads();  // before the next item overwrites the keys
    }
}
