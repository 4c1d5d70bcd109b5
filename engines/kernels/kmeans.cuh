// The iterations of spherical k-means on a Gram matrix (Eqs. 14-15). With S[k][t] the sum of G[i][t] over the members i
// of cluster k, and C[k] the sum of S[k][t] over its members t, the cosine of token t to the center is S / sqrt(C).
//
// A similarity has 2**20 steps, so a sum of up to 2047 of them fits an int. For more tokens, S lies in several planes,
// each the sum over its own rows. Sums are integers: no order of additions can matter.
#pragma once

#include "block.cuh"

constexpr int kClusterChunk = 64;  // clusters that a block of clasp_update serves
constexpr int kNoOwner = -1;       // pivots belong to no cluster

// The four roundings of the contract: C and S to float, root and quotient.
__device__ inline float center_length(int64 squared) {
    return __fsqrt_rn(__ll2float_rn(squared > 0 ? squared : 0));
}
__device__ inline float cosine(int64 sum, float length) {
    return length > 0.0f ? __fdiv_rn(__ll2float_rn(sum), length) : 0.0f;
}

// S of one cluster and token, whose place in the first plane is `sums`.
__device__ inline int64 total_of_planes(const int* sums, int planes, int64 plane_size) {
    int64 total = 0;
    for (int plane = 0; plane < planes; ++plane) total += sums[plane * plane_size];
    return total;
}

// Gives each token that is not a pivot to its closest center, equal ones to the lowest cluster. The first time the
// centers are the seeds, and S and C are written as well. A block owns 32 tokens; its warps share out the clusters.
template <bool is_first>
__device__ inline void assign(const float* __restrict__ gram, const uint8* __restrict__ pivots,
                              const int* __restrict__ ranked, int* owner, const int* __restrict__ clusters, int* sums,
                              int64* lengths, int64* next_lengths, int batch, int tokens, int keep, int planes) {
    CLASP_DYNAMIC_SHARED(float, length_of);
    CLASP_SHARED(float, best_cosine, kWarp*(kMaxWarps + 1));  // [token][warp], padded against bank conflicts
    CLASP_SHARED(int, best_cluster, kWarp*(kMaxWarps + 1));
    const float minus_infinity = __uint_as_float(0xff800000u);
    const int tiles = ceil_div(tokens, kWarp);
    const int64 plane_size = static_cast<int64>(keep) * tokens;
    for (int item = blockIdx.x; item < batch * tiles; item += gridDim.x) {
        const int image = item / tiles, first = item % tiles * kWarp, token = first + lane_id();
        const float* matrix = gram + static_cast<int64>(image) * tokens * tokens;
        const int* seeds = ranked + image * tokens;
        const int count = clusters[image];
        for (int k = threadIdx.x; k < count; k += blockDim.x) {
            const int64 place = static_cast<int64>(image) * keep + k;
            const int64 squared = is_first ? to_steps(matrix[static_cast<int64>(seeds[k]) * tokens + seeds[k]])
                                           : lengths[place];
            length_of[k] = center_length(squared);
            if (first == 0) {
                if (is_first) lengths[place] = squared;
                next_lengths[place] = 0;
            }
        }
        __syncthreads();

        float best = minus_infinity;
        int cluster = kNoOwner;
        if (token < tokens) {
#pragma unroll 4
            for (int k = warp_id(); k < count; k += warp_count()) {
                int* place = sums + image * planes * plane_size + static_cast<int64>(k) * tokens + token;
                int64 sum;
                if (is_first) {
                    const int steps = to_steps(matrix[static_cast<int64>(seeds[k]) * tokens + token]);
                    for (int plane = 0; plane < planes; ++plane) place[plane * plane_size] = plane == 0 ? steps : 0;
                    sum = steps;
                } else {
                    sum = total_of_planes(place, planes, plane_size);
                }
                const float similarity = cosine(sum, length_of[k]);
                if (similarity > best) {
                    best = similarity;
                    cluster = k;
                }
            }
        }
        best_cosine[lane_id() * (kMaxWarps + 1) + warp_id()] = best;
        best_cluster[lane_id() * (kMaxWarps + 1) + warp_id()] = cluster;
        __syncthreads();

        for (int column = warp_id(); column < kWarp; column += warp_count()) {
            const bool has_result = lane_id() < warp_count();
            best = has_result ? best_cosine[column * (kMaxWarps + 1) + lane_id()] : minus_infinity;
            cluster = has_result ? best_cluster[column * (kMaxWarps + 1) + lane_id()] : kNoOwner;
            for (int offset = kWarp / 2; offset > 0; offset /= 2) {
                const float other = __shfl_xor_sync(kAllLanes, best, offset);
                const int other_cluster = __shfl_xor_sync(kAllLanes, cluster, offset);
                if (other > best || (other == best && other_cluster < cluster)) {
                    best = other;
                    cluster = other_cluster;
                }
            }
            if (lane_id() == 0 && first + column < tokens) {
                const int place = image * tokens + first + column;
                owner[place] = pivots[place] ? kNoOwner : cluster;
            }
        }
    }  // the next item's first barrier keeps its results from overwriting these
}

CLASP_KERNEL(1024)
clasp_assign_to_seeds(const float* gram, const uint8* pivots, const int* ranked, int* owner, const int* clusters,
                      int* sums, int64* lengths, int64* next_lengths, int batch, int tokens, int keep, int planes) {
    assign<true>(gram, pivots, ranked, owner, clusters, sums, lengths, next_lengths, batch, tokens, keep, planes);
}

CLASP_KERNEL(1024)
clasp_assign(const float* gram, const uint8* pivots, const int* ranked, int* owner, const int* clusters, int* sums,
             int64* lengths, int64* next_lengths, int batch, int tokens, int keep, int planes) {
    assign<false>(gram, pivots, ranked, owner, clusters, sums, lengths, next_lengths, batch, tokens, keep, planes);
}

// Sums the members of each cluster anew: one plane of S, for 32 tokens and kClusterChunk clusters per block, and its
// share of C. A cluster without members keeps its S and C. Warps share out the rows; a row is added to the cluster that
// owns it, 32 tokens side by side, so that lanes never meet in one place.
CLASP_KERNEL(1024)
clasp_update(const float* __restrict__ gram, const int* __restrict__ owner, const int* __restrict__ clusters, int* sums,
             const int64* __restrict__ lengths, int64* next_lengths, int batch, int tokens, int keep, int planes) {
    CLASP_SHARED(int, partial, kClusterChunk* kWarp);
    CLASP_SHARED(int, has_members, kClusterChunk);
    const int tiles = ceil_div(tokens, kWarp), chunks = ceil_div(keep, kClusterChunk);
    const int rows_of_plane = ceil_div(tokens, planes);
    for (int item = blockIdx.x; item < batch * planes * chunks * tiles; item += gridDim.x) {
        const int tile = item % tiles, chunk = item / tiles % chunks;
        const int plane = item / (tiles * chunks) % planes, image = item / (tiles * chunks * planes);
        const int first_cluster = chunk * kClusterChunk;
        const int count = min(clusters[image] - first_cluster, kClusterChunk);
        if (count <= 0) continue;
        const int token = tile * kWarp + lane_id();
        const float* matrix = gram + static_cast<int64>(image) * tokens * tokens;
        const int* owners = owner + image * tokens;

        for (int place = threadIdx.x; place < kClusterChunk * kWarp; place += blockDim.x) partial[place] = 0;
        for (int k = threadIdx.x; k < kClusterChunk; k += blockDim.x) has_members[k] = 0;
        __syncthreads();
        for (int member = threadIdx.x; member < tokens; member += blockDim.x) {
            const int k = owners[member] - first_cluster;
            if (k >= 0 && k < count) atomicOr(&has_members[k], 1);
        }
        const int end = min((plane + 1) * rows_of_plane, tokens);
        if (token < tokens) {
#pragma unroll 4
            for (int row = plane * rows_of_plane + warp_id(); row < end; row += warp_count()) {
                const int k = owners[row] - first_cluster;
                if (k >= 0 && k < count) {
                    atomicAdd(&partial[k * kWarp + lane_id()],
                              to_steps(matrix[static_cast<int64>(row) * tokens + token]));
                }
            }
        }
        __syncthreads();

        const int64 offset = static_cast<int64>(image * planes + plane) * keep + first_cluster;
        const int64 length_offset = static_cast<int64>(image) * keep + first_cluster;
        if (token < tokens) {
            for (int k = warp_id(); k < count; k += warp_count()) {
                if (has_members[k]) sums[(offset + k) * tokens + token] = partial[k * kWarp + lane_id()];
            }
            const int k = owners[token] - first_cluster;
            if (warp_id() == 0 && k >= 0 && k < count) {
                const int64 part = partial[k * kWarp + lane_id()];
                atomicAdd(reinterpret_cast<uint64*>(&next_lengths[length_offset + k]), static_cast<uint64>(part));
            }
        }
        if (tile == 0 && plane == 0) {
            for (int k = threadIdx.x; k < count; k += blockDim.x) {
                if (!has_members[k]) next_lengths[length_offset + k] = lengths[length_offset + k];
            }
        }
        __syncthreads();  // before the next item overwrites what the block shares
    }
}
