// The element types of tokens: how one is read, brought to a common scale, and multiplied in tiles.
//
// `multiply` adds A * B^T for one slab of both: 32 rows each, kSlabStride bytes apart, in products of 16 rows by 8
// columns. Of each, a lane holds rows lane / 4 and lane / 4 + 8 in columns 2 * (lane % 4) and the next, which is the
// layout of the tensor cores' m16n8k16.
#pragma once

#include "block.cuh"

struct __align__(16) Chunk {
    unsigned words[4];
};
constexpr int kSlabBytes = 64;   // of each row, per step
constexpr int kSlabStride = 80;  // bytes between rows in shared memory: keeps lanes in different banks
constexpr int kSlabChunks = kSlabBytes / 16, kStrideChunks = kSlabStride / 16, kStrideWords = kSlabStride / 4;
constexpr int kRowTiles = 2, kColumnTiles = 4;
typedef float WarpSums[kRowTiles][kColumnTiles][4];

template <typename Format>
__device__ inline void multiply_16_bit(WarpSums& sums, const Chunk* a, const Chunk* b) {
    const int row = lane_id() / 4, pair = lane_id() % 4;
    const unsigned* a_words = a->words + row * kStrideWords + pair;
    const unsigned* b_words = b->words + row * kStrideWords + pair;
#pragma unroll
    for (int word = 0; word < kSlabBytes / 4; word += 8) {  // 16 elements, two to a word
        unsigned left[kRowTiles][4];
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
            const unsigned* upper = a_words + m * 16 * kStrideWords + word;
            const unsigned* lower = upper + 8 * kStrideWords;
            left[m][0] = upper[0];
            left[m][1] = lower[0];
            left[m][2] = upper[4];
            left[m][3] = lower[4];
        }
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) {
            const unsigned* column = b_words + n * 8 * kStrideWords + word;
            const unsigned right[2] = {column[0], column[4]};
#pragma unroll
            for (int m = 0; m < kRowTiles; ++m) Format::mma(sums[m][n], left[m], right);
        }
    }
}

struct Half {
    typedef uint16 Item;
    // The square of any half is a normal float, and 8192 of the largest do not overflow: no scale is needed.
    static constexpr bool kScaled = false;
    static __device__ float to_float(Item item) { return half_to_float(item); }
    static __device__ Item scale(Item item, float) { return item; }
    static __device__ void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { mma_half(d, a, b); }
    static __device__ void multiply(WarpSums& sums, const Chunk* a, const Chunk* b) {
        multiply_16_bit<Half>(sums, a, b);
    }
};

struct Bfloat {
    typedef uint16 Item;
    static constexpr bool kScaled = true;
    static __device__ float to_float(Item item) { return __uint_as_float(static_cast<unsigned>(item) << 16); }
    // A power of two leaves the significand alone, so that cutting off the low half loses nothing.
    static __device__ Item scale(Item item, float factor) { return __float_as_uint(to_float(item) * factor) >> 16; }
    static __device__ void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { mma_bfloat(d, a, b); }
    static __device__ void multiply(WarpSums& sums, const Chunk* a, const Chunk* b) {
        multiply_16_bit<Bfloat>(sums, a, b);
    }
};

struct Float {
    typedef float Item;
    static constexpr bool kScaled = true;
    static __device__ float to_float(Item item) { return item; }
    static __device__ Item scale(Item item, float factor) { return item * factor; }
    // TF32 would round the tokens to ten bits: full precision takes ordinary multiplications.
    static __device__ void multiply(WarpSums& sums, const Chunk* a, const Chunk* b) {
        const int row = lane_id() / 4, pair = lane_id() % 4;
#pragma unroll 1  // unrolled, it takes a third more registers
        for (int chunk = 0; chunk < kSlabChunks; ++chunk) {
            float left[kRowTiles][2][4];
#pragma unroll
            for (int m = 0; m < kRowTiles; ++m) {
                load(left[m][0], a[(m * 16 + row) * kStrideChunks + chunk]);
                load(left[m][1], a[(m * 16 + row + 8) * kStrideChunks + chunk]);
            }
#pragma unroll
            for (int n = 0; n < kColumnTiles; ++n) {
                float right[2][4];
                load(right[0], b[(n * 8 + 2 * pair) * kStrideChunks + chunk]);
                load(right[1], b[(n * 8 + 2 * pair + 1) * kStrideChunks + chunk]);
#pragma unroll
                for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
                    for (int each = 0; each < 4; ++each) {
#pragma unroll
                        for (int k = 0; k < 4; ++k) {
                            sums[m][n][each] = __fmaf_rn(left[m][each / 2][k], right[each % 2][k], sums[m][n][each]);
                        }
                    }
                }
            }
        }
    }
    static __device__ void load(float (&values)[4], const Chunk& chunk) {
#pragma unroll
        for (int k = 0; k < 4; ++k) values[k] = __uint_as_float(chunk.words[k]);
    }
};
