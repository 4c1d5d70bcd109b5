// Sorting by counting: the rank of a token is the number of tokens that come before it. Quadratic, but every token is
// ranked by its own warp and no order of execution can matter.
#pragma once

#include "block.cuh"

// Tokens with smaller keys come first, equal keys in index order. One warp; every lane gets the rank.
__device__ inline int rank_of(int token, const unsigned* keys, int tokens) {
    const unsigned key = keys[token];
    int before = 0;
    for (int other = lane_id(); other < tokens; other += kWarp) {
        before += keys[other] < key || (keys[other] == key && other < token);
    }
    return warp_sum(before);
}
