// Uses a plugin as TensorRT does: creates it from fields, attaches it to two contexts, runs both, and lets go of all.
//   drive LIBRARY PLUGIN TOKENS,KEEP.. < FIELDS      each context runs all shapes; a field is a line: its name, `i` (int32), `b` (int8) or `c` (char), and hex bytes
#include <NvInferRuntime.h>

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

using namespace nvinfer1;

int main(int argc, char** argv)
{
    auto* library = dlopen(argv[1], RTLD_NOW);
    if (library == nullptr)
    {
        std::puts(dlerror());
        return 1;
    }
    auto const getCreators
        = reinterpret_cast<IPluginCreatorInterface* const* (*) (std::int32_t&)>(dlsym(library, "getCreators"));
    std::int32_t count{};
    auto* const* creators = getCreators(count);
    IPluginCreatorV3One* creator{};
    for (std::int32_t i = 0; i < count; ++i)
    {
        auto* each = static_cast<IPluginCreatorV3One*>(creators[i]);
        if (std::strcmp(each->getPluginName(), argv[2]) == 0)
        {
            creator = each;
        }
    }

    std::vector<std::string> names, contents;
    std::vector<char> kinds;
    for (std::string line; std::getline(std::cin, line);)
    {
        std::istringstream words(line);
        std::string name, hex, bytes;
        char kind{};
        words >> name >> kind >> hex;
        for (std::size_t i = 0; i < hex.size(); i += 2)
        {
            bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
        }
        names.push_back(name);
        kinds.push_back(kind);
        contents.push_back(bytes);
    }
    std::vector<PluginField> fields;
    for (std::size_t i = 0; i < names.size(); ++i)
    {
        auto const type = kinds[i] == 'i' ? PluginFieldType::kINT32
            : kinds[i] == 'b'             ? PluginFieldType::kINT8
                                          : PluginFieldType::kCHAR;
        auto const length = static_cast<std::int32_t>(contents[i].size() / (kinds[i] == 'i' ? 4 : 1));
        fields.emplace_back(names[i].c_str(), contents[i].data(), type, length);
    }
    PluginFieldCollection const collection{static_cast<std::int32_t>(fields.size()), fields.data()};
    std::unique_ptr<IPluginV3> plugin{creator->createPlugin("node", &collection, TensorRTPhase::kRUNTIME)};
    contents.clear(); // TensorRT's own may go as well
    if (plugin == nullptr)
    {
        std::puts("refused");
        return 0;
    }
    auto const runtime = [](IPluginV3& each) {
        return static_cast<IPluginV3OneRuntime*>(each.getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    };
    auto* build = static_cast<IPluginV3OneBuild*>(plugin->getCapabilityInterface(PluginCapabilityType::kBUILD));
    bool const varies = std::find(names.begin(), names.end(), "rows") != names.end();
    bool const ranks = std::strcmp(argv[2], "ClaspPivotSelect") == 0;
    std::vector<std::vector<Dims>> shapes;
    for (int i = 3; i < argc; ++i)
    {
        std::int64_t tokens{}, keep{};
        std::sscanf(argv[i], "%ld,%ld", &tokens, &keep);
        Dims const row{2, {1, tokens}}, one{1, {1}}, matrix{3, {1, tokens, tokens}}, kept{1, {keep}};
        shapes.push_back(ranks ? std::vector<Dims>{row, one} : std::vector<Dims>{matrix, row});
        if (varies)
        {
            shapes.back().push_back(kept);
        }
    }
    std::vector<DynamicPluginTensorDesc> most;
    for (auto const& dims : shapes[0])
    {
        most.push_back({});
        most.back().max = dims;
    }
    std::printf("workspace %zu outputs %d\n", build->getWorkspaceSize(most.data(), static_cast<std::int32_t>(most.size()), nullptr, 0),
        build->getNbOutputs());
    auto const* kept = runtime(*plugin)->getFieldsToSerialize();
    for (std::int32_t i = 0; i < kept->nbFields; ++i)
    {
        std::printf("field %s %d\n", kept->fields[i].name, kept->fields[i].length);
    }
    auto const address = [](std::uintptr_t value) { return reinterpret_cast<void*>(value); };
    void const* inputs[]{address(0x10000), address(0x20000), address(0x50000)};
    void* outputs[]{address(0x30000), address(0x40000)};
    for (int context = 0; context < 2; ++context)
    {
        std::unique_ptr<IPluginV3> clone{plugin->clone()};
        std::unique_ptr<IPluginV3> attached{runtime(*clone)->attachToContext(nullptr)};
        auto* running = runtime(*attached);
        auto const stream = static_cast<cudaStream_t>(address(0x1234));
        for (auto const& shape : shapes)
        {
            std::vector<PluginTensorDesc> given;
            for (auto const& dims : shape)
            {
                given.push_back({dims, DataType::kFLOAT, TensorFormat::kLINEAR, 1.F});
            }
            auto const count = static_cast<std::int32_t>(given.size());
            if (running->onShapeChange(given.data(), count, nullptr, 0) != 0
                || running->enqueue(given.data(), nullptr, inputs, outputs, address(0x7f0000000000), stream) != 0)
            {
                std::puts("refused");
            }
        }
    }
    return 0;
}
