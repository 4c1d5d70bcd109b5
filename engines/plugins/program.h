// What a plugin carries: the operator's attributes, a launch plan and cubins, as clasp_trt/plugins/program.py writes them.
#pragma once

#include <NvInferRuntime.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace clasp
{

inline constexpr char const* kNAMESPACE = "clasp";

//! An input or output: its type, and the sizes that its dimensions are named after in the operator's contract.
struct Port
{
    nvinfer1::DataType type;
    std::vector<char const*> dimensions;
};

//! One of the two operators, as clasp_trt/ops promises it.
struct Operator
{
    char const* name;
    char const* version;
    std::vector<char const*> attributes;
    std::vector<Port> inputs;
    std::vector<Port> outputs;
};

std::array<Operator, 2> const& operators();

//! A plugin's field, with data of its own.
struct Field
{
    std::string name;
    nvinfer1::PluginFieldType type;
    std::int32_t length; // in elements
    std::vector<char> data;
};

struct Argument
{
    enum class Kind : std::int32_t
    {
        kTENSOR = 0,
        kWORKSPACE = 1,
        kINT32 = 2,
    };

    Kind kind;
    std::int32_t value; // number of a tensor, outputs after inputs; byte of the workspace; or the number itself
};

struct Launch
{
    std::string kernel;
    std::array<std::uint32_t, 3> grid;
    std::array<std::uint32_t, 3> block;
    std::uint32_t shared; // bytes of dynamic shared memory
    std::vector<Argument> arguments;
};

//! A cubin for compute capability `sm` / 10, in the field `cubins`.
struct Image
{
    std::int32_t sm;
    char const* cubin;
};

//! Read from fields, and never changed: clones of a plugin share it.
class Program
{
public:
    //! Throws std::runtime_error where the fields do not describe a program of `op`.
    Program(Operator const& op, nvinfer1::PluginFieldCollection const& fields);

    Program(Program const&) = delete;
    Program& operator=(Program const&) = delete;

    Operator const& op;
    std::int32_t keep{};
    std::int32_t batch{};
    std::int32_t tokens{};
    std::int32_t workspace{}; // bytes
    std::int32_t cuda{};      // major version that made the cubins
    std::vector<Launch> launches;
    std::vector<Image> images;

    std::int64_t size(char const* dimension) const;

    //! The fields as they came, in the order of fieldNames().
    nvinfer1::PluginFieldCollection const* fields() const
    {
        return &mCollection;
    }

private:
    std::vector<Field> mFields;
    std::vector<nvinfer1::PluginField> mViews;
    nvinfer1::PluginFieldCollection mCollection{};

    Field const& find(std::string const& name) const;
    std::vector<std::int32_t> numbers(std::string const& name) const;
    std::int32_t number(std::string const& name) const;
};

//! Names of the fields of the plugin of `op`.
std::vector<std::string> fieldNames(Operator const& op);

} // namespace clasp
