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

//! One of the two operators, as clasp_trt/operators.py promises it.
struct Operator
{
    char const* name;
    char const* version;
    std::vector<char const*> attributes;
    std::vector<Port> inputs;
    std::vector<Port> outputs;
};

std::array<Operator, 2> const& operators();

//! The same, where the numbers of tokens are those of a request: a last input `ranks` has as many as stay.
std::array<Operator, 2> const& varyingOperators();

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
                        // (of a recipe: the row of either of these two)
};

struct Launch
{
    std::string kernel;
    std::array<std::uint32_t, 3> grid;
    std::array<std::uint32_t, 3> block;
    std::uint32_t shared; // bytes of dynamic shared memory
    std::vector<Argument> arguments;
};

//! A number of a recipe: what its rule makes of two others (clasp_trt/plugins/launch/recipe.py).
struct Row
{
    enum class Rule : std::int32_t
    {
        kCONSTANT = 0,
        kSIZE = 1,
        kSUM = 2,
        kPRODUCT = 3,
        kCEILING = 4,
        kBELOW = 5,
    };

    Rule rule;
    std::int32_t left;
    std::int32_t right;
};

//! What is launched at one shape.
struct Plan
{
    std::int32_t workspace; // bytes
    std::vector<Launch> launches;
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
    //! Throws std::runtime_error where the fields do not describe a program of the operator `name`.
    Program(std::string const& name, nvinfer1::PluginFieldCollection const& fields);

    Program(Program const&) = delete;
    Program& operator=(Program const&) = delete;

    Operator const& op;
    std::int32_t keep{};      // 0: as many as a request says
    std::int32_t batch{};
    std::int32_t tokens{};    // the most of them, where they are a request's
    std::int32_t cuda{};      // major version that made the cubins
    std::vector<Image> images;

    //! Whether the numbers of tokens are those of a request.
    bool varies() const
    {
        return !mRows.empty();
    }

    //! The size of a dimension by its name, or -1 where it is a request's.
    std::int64_t size(char const* dimension) const;

    //! Entry points, each once, in order of first use.
    std::vector<std::string> kernels() const;

    //! What is launched where `keep` of `tokens` stay. Throws std::runtime_error if there is nothing for that.
    Plan at(std::int32_t tokens, std::int32_t keep) const;

    //! The fields as they came, in the order of fieldNames().
    nvinfer1::PluginFieldCollection const* fields() const
    {
        return &mCollection;
    }

private:
    Plan mPlan; // of the one shape; or, where there are rows, with their numbers in the place of its own
    std::vector<Row> mRows;
    std::vector<Field> mFields;
    std::vector<nvinfer1::PluginField> mViews;
    nvinfer1::PluginFieldCollection mCollection{};

    Field const& find(std::string const& name) const;
    std::vector<std::int32_t> numbers(std::string const& name) const;
    std::int32_t number(std::string const& name) const;
    void readRows();
};

//! Names of the fields of the plugin of `op`.
std::vector<std::string> fieldNames(Operator const& op);

} // namespace clasp
