// Launches a program on the current device. Everything is made when its shape comes for the first time: a launch neither
// allocates on the device nor waits.
#pragma once

#include "program.h"

#include <cuda.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
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

    //! Makes the launches where `keep` of `tokens` stay. Throws std::runtime_error if the program is not for these.
    void prepare(std::int32_t tokens, std::int32_t keep);

    //! Enqueues all launches on `stream`, for as many tokens. Throws std::runtime_error where the driver refuses one.
    void operator()(std::int32_t tokens, std::int32_t keep, void const* const* inputs, void* const* outputs, void* workspace,
        CUstream stream);

private:
    //! A launch with its function and its arguments: 8 bytes each, of which a kernel reads the low 4 of an int32; and
    //! their addresses.
    struct Ready
    {
        Launch launch;
        CUfunction function{};
        std::vector<std::uint64_t> values;
        std::vector<void*> addresses;
    };

    struct Function
    {
        CUfunction handle{};
        std::uint32_t shared{}; // bytes of shared memory that it may take
    };

    std::shared_ptr<Program const> mProgram;
    CUlibrary mLibrary{};
    std::map<std::string, Function> mFunctions;
    std::map<std::pair<std::int32_t, std::int32_t>, std::vector<Ready>> mReady;

    std::vector<Ready>& ready(std::int32_t tokens, std::int32_t keep);
    Ready made(Launch const& launch);
};

} // namespace clasp
