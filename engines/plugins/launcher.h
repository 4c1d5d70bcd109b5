// Launches a program on the current device. Everything is made beforehand: a launch neither allocates nor waits.
#pragma once

#include "program.h"

#include <cuda.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace clasp
{

//! Belongs to one execution context and, like that, to one thread at a time.
class Launcher
{
public:
    //! Loads the cubin for the current CUDA context. Throws std::runtime_error where none fits or the driver refuses.
    explicit Launcher(std::shared_ptr<Program const> program);
    ~Launcher();

    Launcher(Launcher const&) = delete;
    Launcher& operator=(Launcher const&) = delete;

    //! Enqueues all launches on `stream`. Throws std::runtime_error where the driver refuses one.
    void operator()(void const* const* inputs, void* const* outputs, void* workspace, CUstream stream);

private:
    //! A function and its arguments: 8 bytes each, of which a kernel reads the low 4 of an int32; and their addresses.
    struct Ready
    {
        CUfunction function{};
        std::vector<std::uint64_t> values;
        std::vector<void*> addresses;
    };

    std::shared_ptr<Program const> mProgram;
    CUlibrary mLibrary{};
    std::vector<Ready> mReady;

    void prepare(Launch const& launch);
};

} // namespace clasp
