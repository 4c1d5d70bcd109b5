// The cosine Gram matrix of tokens (Eq. 24): products of the upper triangle in tiles, then normalised by the products'
// own diagonal, rounded to steps of 2**-20 and mirrored.
//
// Tiles (r, c) with r <= c are numbered row by row. `splits` blocks share the width of a tile and leave partial sums
// [image][split][tile][row][column], which the last kernel adds in one order.
#pragma once

#include "tiles.cuh"

constexpr float kLargestFloat = 3.40282347e38f;

struct TilePlace {
    int row, column;
};

__device__ inline TilePlace tile_place(int number, int side) {
    int row = 0;
    for (int in_row = side; number >= in_row; --in_row) {
        number -= in_row;
        ++row;
    }
    return {row, row + number};
}

__device__ inline int diagonal_tile(int row, int side) { return row * side - row * (row - 1) / 2; }

// A power of two per token that brings its largest element near 1, so that squares neither overflow nor vanish; 0 for
// tokens that are zero or not finite, whose square is then 0 or NaN. One warp per token.
template <typename Format>
__device__ inline void row_scale(const typename Format::Item* x, float* scales, int batch, int tokens, int width) {
    const int warps = gridDim.x * warp_count();
    for (int token = blockIdx.x * warp_count() + warp_id(); token < batch * tokens; token += warps) {
        unsigned peak = 0;  // bits of non-negative floats compare as the floats do, and NaN is above infinity
        for (int k = lane_id(); k < width; k += kWarp) {
            const unsigned magnitude =
                __float_as_uint(Format::to_float(x[static_cast<int64>(token) * width + k])) & 0x7fffffffu;
            peak = max(peak, magnitude);
        }
        for (int offset = kWarp / 2; offset > 0; offset /= 2) {
            peak = max(peak, __shfl_xor_sync(kAllLanes, peak, offset));
        }
        const unsigned infinity = 0x7f800000u;
        const int exponent = 254 - static_cast<int>(peak >> 23);  // of 1 / peak, biased; kept among the normal ones
        const unsigned factor = static_cast<unsigned>(min(max(exponent, 1), 253)) << 23;
        if (lane_id() == 0) scales[token] = peak > 0 && peak < infinity ? __uint_as_float(factor) : 0.0f;
    }
}

// One split of one tile at a time per block; each of its warps computes 32 x 32 of it.
template <typename Format, int kTile>
__device__ inline void gram_tile(const typename Format::Item* __restrict__ x, const float* __restrict__ scales,
                                 float* partial, int batch, int tokens, int width, int splits) {
    CLASP_SHARED(Chunk, slab_rows, 2 * kTile * kStrideChunks);
    const int side = ceil_div(tokens, kTile), tiles = side * (side + 1) / 2;
    const int slabs = slab_count<Format>(width), slabs_of_split = ceil_div(slabs, splits);
    for (int item = blockIdx.x; item < batch * splits * tiles; item += gridDim.x) {
        const int tile = item % tiles, split = item / tiles % splits, image = item / (tiles * splits);
        const TilePlace place = tile_place(tile, side);
        const auto row_of = [&](int row) {
            const int token = row < kTile ? place.row * kTile + row : place.column * kTile + row - kTile;
            const int64 index = static_cast<int64>(image) * tokens + token;
            ScaledRow<Format> found = {nullptr, 1.0f};
            if (token < tokens) found = {x + index * width, Format::kScaled ? scales[index] : 1.0f};
            return found;
        };
        WarpSums sums = {};
        const int begin = split * slabs_of_split;
        multiply_rows<Format, kTile>(sums, slab_rows, row_of, width, begin, min(begin + slabs_of_split, slabs));
        float* out = partial + static_cast<int64>(item) * kTile * kTile;
        for_each_sum<kTile>(sums, [&](int row, int column, float sum) { out[row * kTile + column] = sum; });
    }
}

// Adds up the splits of one product; `partial` is its place in the first of them.
__device__ inline float total_of_splits(const float* partial, int splits, int64 split_size) {
    float total = 0.0f;
#pragma unroll 4
    for (int split = 0; split < splits; ++split) total += partial[split * split_size];
    return total;
}

// Normalises, rounds and mirrors 32 x 32 values per block and round.
CLASP_KERNEL(256)
clasp_gram_finish(const float* __restrict__ partial, float* gram, int batch, int tokens, int splits, int tile_size) {
    CLASP_SHARED(float, lengths, 2 * kWarp);  // of the rows' tokens, then of the columns'; 0 for invalid ones
    CLASP_SHARED(float, values, kWarp*(kWarp + 1));
    const int side = ceil_div(tokens, tile_size), tiles = side * (side + 1) / 2, parts = tile_size / kWarp;
    const int64 tile_area = static_cast<int64>(tile_size) * tile_size, split_size = tiles * tile_area;
    for (int item = blockIdx.x; item < batch * tiles * parts * parts; item += gridDim.x) {
        const int part_column = item % parts * kWarp, part_row = item / parts % parts * kWarp;
        const int tile = item / (parts * parts) % tiles, image = item / (parts * parts * tiles);
        const TilePlace place = tile_place(tile, side);
        const int first_row = place.row * tile_size + part_row, first_column = place.column * tile_size + part_column;
        const bool on_diagonal = first_row == first_column;
        if (first_row > first_column || first_row >= tokens || first_column >= tokens) continue;
        const float* products = partial + image * splits * split_size;

        for (int i = threadIdx.x; i < 2 * kWarp; i += blockDim.x) {
            const int within = i < kWarp ? part_row + i : part_column + i - kWarp;
            const int tile_row = i < kWarp ? place.row : place.column, token = tile_row * tile_size + within;
            const int64 square = diagonal_tile(tile_row, side) * tile_area + within * (tile_size + 1);
            const float squared = token < tokens ? total_of_splits(products + square, splits, split_size) : 0.0f;
            lengths[i] = squared <= kLargestFloat ? __fsqrt_rn(squared) : 0.0f;  // also for NaN
        }
        __syncthreads();
        for (int row = warp_id(); row < kWarp; row += warp_count()) {
            const int column = lane_id();
            const float scale = lengths[row] * lengths[kWarp + column];
            float value = 0.0f;
            if (scale > 0.0f) {
                const int64 index = tile * tile_area + (part_row + row) * tile_size + part_column + column;
                const float cosine = __fdiv_rn(total_of_splits(products + index, splits, split_size), scale);
                value = rintf(fminf(fmaxf(cosine, -1.0f), 1.0f) * kGramSteps) / kGramSteps;
                if (on_diagonal && row == column) value = 1.0f;
            }
            values[row * (kWarp + 1) + column] = value;
        }
        __syncthreads();
        float* matrix = gram + static_cast<int64>(image) * tokens * tokens;
        for (int row = warp_id(); row < kWarp; row += warp_count()) {
            const int column = lane_id();
            const float upper = values[row * (kWarp + 1) + column], lower = values[column * (kWarp + 1) + row];
            if (first_row + row < tokens && first_column + column < tokens) {
                const int64 index = static_cast<int64>(first_row + row) * tokens + first_column + column;
                matrix[index] = on_diagonal && row > column ? lower : upper;
            }
            if (!on_diagonal && first_column + row < tokens && first_row + column < tokens) {
                const int64 index = static_cast<int64>(first_column + row) * tokens + first_row + column;
                matrix[index] = lower;
            }
        }
    }  // the next item's first barrier keeps its values from overwriting these
}

#define CLASP_SCALE_KERNEL(Format, suffix)                                                                            \
    CLASP_KERNEL(256)                                                                                                 \
    clasp_row_scale_##suffix(const Format::Item* __restrict__ x, float* scales, int batch, int tokens, int width) {   \
        row_scale<Format>(x, scales, batch, tokens, width);                                                           \
    }
CLASP_SCALE_KERNEL(Bfloat, bf16)
CLASP_SCALE_KERNEL(Float, fp32)

#define CLASP_TILE_KERNEL(Format, suffix, size, threads)                                                              \
    CLASP_KERNEL(threads)                                                                                             \
    clasp_gram_tile##size##_##suffix(const Format::Item* x, const float* scales, float* partial, int batch,           \
                                     int tokens, int width, int splits) {                                             \
        gram_tile<Format, size>(x, scales, partial, batch, tokens, width, splits);                                    \
    }
CLASP_TILE_KERNEL(Half, fp16, 64, 128)
CLASP_TILE_KERNEL(Bfloat, bf16, 64, 128)
CLASP_TILE_KERNEL(Float, fp32, 64, 128)
CLASP_TILE_KERNEL(Half, fp16, 128, 512)  // half the traffic; in float32 traffic is not what limits
CLASP_TILE_KERNEL(Bfloat, bf16, 128, 512)
