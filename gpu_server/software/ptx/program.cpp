// compile(): from texts to a Program; placing its variables; launching its kernels.

#include "program.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

#include "launch.hpp"
#include "lowering.hpp"
#include "parser.hpp"

namespace tfusion::software::ptx {

namespace {

constexpr std::uint64_t kDeepStack = 64 * 1024;  // bytes of local memory for calls whose depth nobody knows

class CompiledProgram final : public Program {
 public:
  explicit CompiledProgram(std::span<const std::string_view> texts) {
    for (const std::string_view text : texts) modules_.push_back(parse(text));
    symbols_ = link(modules_);
    lower();
    for (std::uint32_t i = 0; i < symbols_.variables.size(); ++i) {
      const ast::Variable& variable = *symbols_.variables[i].declaration;
      if (variable.space == Space::shared || variable.texture) continue;
      variable_of_global_.push_back(i);
      globals_.push_back({variable.name, std::max<std::size_t>(variable.bytes, 1), variable.alignment,
                          variable.space == Space::constant});
    }
    check_initialisers();
    // Last, and no variable of the texts: whoever adds up the sizes to come must count it too.
    if (symbols_.uses_heap) globals_.push_back({"device heap of malloc()", DeviceHeap::kBytes, 256, false});
  }

  std::span<const KernelInfo> kernels() const override { return infos_; }
  std::span<const GlobalInfo> globals() const override { return globals_; }

  void instantiate(const PlaceGlobal& place) override {
    addresses_.assign(symbols_.variables.size(), 0);
    const std::size_t variables = variable_of_global_.size();
    for (std::size_t i = 0; i < variables; ++i) addresses_[variable_of_global_[i]] = place(globals_[i]);
    for (std::size_t i = 0; i < variables; ++i) initialise(variable_of_global_[i], globals_[i].bytes);
    if (symbols_.uses_heap) heap_.emplace(place(globals_.back()));
    for (FunctionCode& function : functions_) {
      for (ConstantRow& row : function.constants) {
        if (row.symbol < 0) continue;
        const auto index = static_cast<std::uint32_t>(row.symbol);
        // Dynamic shared memory begins behind a kernel's static one, which is known at a launch: all kernels
        // of a program share the largest.
        row.value += symbols_.variables[index].dynamic_shared ? dynamic_shared_start_ : addresses_[index];
        row.symbol = -1;
      }
    }
  }

  LaunchReport launch(std::size_t kernel, const LaunchConfig& config, const AddressSpace& memory) override {
    try {
      if (kernel >= kernels_.size())
        return {Outcome::illegal_instruction, "there is no kernel with this number"};
      return Launch(functions_, kernels_[kernel], config, memory, heap_ ? &*heap_ : nullptr,
                    launches_.fetch_add(1))
          .run();
    } catch (const std::exception& error) {
      return {Outcome::trap, std::string("the software GPU ran out of resources: ") + error.what()};
    }
  }

 private:
  void lower() {
    const std::size_t count = symbols_.functions.size();
    std::vector<FunctionLayout> layouts;
    std::uint64_t shared = symbols_.shared_bytes;
    // Shared variables of device functions lie before those of the kernels, which may overlap each other.
    for (const ProgramFunction& function : symbols_.functions) {
      layouts.push_back(lay_out(*function.declaration, shared));
      if (!function.declaration->entry) shared = layouts.back().shared_bytes;
    }
    dynamic_shared_start_ = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const ast::Function& function = *symbols_.functions[i].declaration;
      if (function.entry) layouts[i] = lay_out(function, shared);
      dynamic_shared_start_ = std::max(dynamic_shared_start_, layouts[i].shared_bytes);
    }
    if (dynamic_shared_start_ > 48 * 1024) {
      throw CompileError(
          symbols_.functions.empty() ? 1 : symbols_.functions[0].declaration->line,
          "static shared memory of " + std::to_string(dynamic_shared_start_) +
              " bytes is more than the 49152 bytes a block may have; use dynamic shared memory");
    }
    dynamic_shared_start_ = (dynamic_shared_start_ + 15) & ~std::uint64_t{15};
    std::vector<std::vector<std::uint32_t>> callees(count);
    std::vector<bool> unknown(count);
    for (std::size_t i = 0; i < count; ++i) {
      Lowering lowering(*symbols_.functions[i].declaration, symbols_.functions[i].module, symbols_,
                        layouts[i]);
      functions_.push_back(lowering.run());
      callees[i] = lowering.callees();
      unknown[i] = lowering.calls_unknown();
    }
    for (std::uint32_t i = 0; i < count; ++i) {
      const ast::Function& function = *symbols_.functions[i].declaration;
      if (function.entry) add_kernel(i, function, layouts[i], callees, unknown);
    }
  }

  void add_kernel(std::uint32_t index, const ast::Function& function, const FunctionLayout& layout,
                  const std::vector<std::vector<std::uint32_t>>& callees, const std::vector<bool>& unknown) {
    Kernel kernel;
    kernel.function = index;
    kernel.static_shared_bytes = dynamic_shared_start_;
    kernel.stack_bytes = stack_of(index, callees, unknown);
    KernelInfo& info = kernel.info;
    info.name = function.name;
    info.parameters = layout.parameters;
    info.parameter_bytes = layout.param_bytes;
    info.static_shared_bytes = layout.shared_bytes;
    info.local_bytes = functions_[index].local_bytes;
    if (function.max_threads != 0) info.max_threads_per_block = function.max_threads;
    for (int i = 0; i < 3; ++i) info.required_threads[i] = function.required_threads[i];
    info.registers = std::clamp(functions_[index].row_bytes / 4, 16u, 255u);
    infos_.push_back(info);
    kernels_.push_back(std::move(kernel));
  }

  // Local memory for a kernel and its deepest chain of calls.
  std::uint64_t stack_of(std::uint32_t kernel, const std::vector<std::vector<std::uint32_t>>& callees,
                         const std::vector<bool>& unknown) const {
    // Depth-first without recursion; a function met on its own path, or a call through a pointer, has no
    // known depth.
    enum class Mark : std::uint8_t { fresh, open, done };
    std::vector<Mark> marks(functions_.size(), Mark::fresh);
    std::vector<std::uint64_t> depth(functions_.size(), 0);
    std::vector<std::pair<std::uint32_t, std::size_t>> path{{kernel, 0}};
    marks[kernel] = Mark::open;
    bool endless = unknown[kernel];
    while (!path.empty()) {
      auto& [function, next] = path.back();
      if (next < callees[function].size()) {
        const std::uint32_t callee = callees[function][next++];
        if (marks[callee] == Mark::open) endless = true;
        if (marks[callee] != Mark::fresh) continue;
        marks[callee] = Mark::open;
        endless = endless || unknown[callee];
        path.emplace_back(callee, 0);
        continue;
      }
      std::uint64_t deepest = 0;
      for (const std::uint32_t callee : callees[function]) deepest = std::max(deepest, depth[callee]);
      depth[function] = functions_[function].local_bytes + deepest;
      marks[function] = Mark::done;
      path.pop_back();
    }
    return depth[kernel] + (endless ? kDeepStack : 0);
  }

  void check_initialisers() const {
    for (std::uint32_t i : variable_of_global_) {
      const ast::Variable& variable = *symbols_.variables[i].declaration;
      for (const ast::Relocation& relocation : variable.relocations) {
        const auto symbol = find(variable, relocation.symbol);
        if (!symbol || symbol->kind == Symbol::Kind::builtin) {
          throw CompileError(relocation.line, "the initial value of '" + variable.name + "' names '" +
                                                  relocation.symbol + "', which no text defines");
        }
      }
    }
  }

  std::optional<Symbol> find(const ast::Variable& variable, const std::string& name) const {
    for (std::uint32_t m = 0; m < modules_.size(); ++m) {
      const auto& variables = modules_[m].variables;
      if (!variables.empty() && &variable >= variables.data() &&
          &variable < variables.data() + variables.size())
        return symbols_.find(m, name);
    }
    return std::nullopt;
  }

  // Device memory is this process's memory: the variable is written where it lies.
  void initialise(std::uint32_t index, std::size_t bytes) {
    const ast::Variable& variable = *symbols_.variables[index].declaration;
    auto* const to = reinterpret_cast<std::byte*>(addresses_[index]);
    std::memset(to, 0, bytes);
    if (!variable.image.empty()) std::memcpy(to, variable.image.data(), variable.image.size());
    for (const ast::Relocation& relocation : variable.relocations) {
      const auto symbol = find(variable, relocation.symbol);
      std::uint64_t value = static_cast<std::uint64_t>(relocation.addend);
      if (symbol->kind == Symbol::Kind::function) {
        value += kFunctionWindow + symbol->index * kFunctionStride;
      } else {
        const ProgramVariable& target = symbols_.variables[symbol->index];
        value += target.dynamic_shared                        ? kSharedWindow + dynamic_shared_start_
                 : target.declaration->space == Space::shared ? kSharedWindow + target.shared_offset
                                                              : addresses_[symbol->index];
      }
      value &= relocation.mask;
      if (relocation.mask != 0 && relocation.mask != ~std::uint64_t{0})
        value >>= std::countr_zero(relocation.mask);
      std::memcpy(to + relocation.offset, &value, relocation.bytes);
    }
  }

  std::vector<ast::Module> modules_;
  Symbols symbols_;
  std::vector<FunctionCode> functions_;
  std::vector<Kernel> kernels_;
  std::vector<KernelInfo> infos_;
  std::vector<GlobalInfo> globals_;
  std::vector<std::uint32_t> variable_of_global_;
  std::vector<std::uint64_t> addresses_;
  std::uint64_t dynamic_shared_start_ = 0;
  std::optional<DeviceHeap> heap_;
  std::atomic<std::uint64_t> launches_{1};
};

}  // namespace

std::unique_ptr<Program> compile(std::span<const std::string_view> texts) {
  if (texts.empty()) throw CompileError(1, "there is no PTX text to compile");
  try {
    return std::make_unique<CompiledProgram>(texts);
  } catch (const std::bad_alloc&) {
    throw CompileError(1, "the PTX text needs more memory to compile than this machine has");
  } catch (const std::length_error&) {
    throw CompileError(1, "the PTX text needs more memory to compile than this machine has");
  }
}

}  // namespace tfusion::software::ptx
