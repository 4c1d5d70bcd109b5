// All kernels of the pruning selection, one translation unit: compiled by NVRTC for GPUs and, with CLASP_EMULATION, by
// a host compiler for the tests.
#include "medoids.cuh"
#include "pivot_select.cuh"
#include "seeds.cuh"
