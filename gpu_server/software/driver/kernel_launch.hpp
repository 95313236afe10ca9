// A kernel launch with everything that it needs, parameters copied: made and checked by the launch functions
// and for kernel nodes of graphs, run by the queue.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "function.hpp"

namespace tfusion::software::driver {

struct Shape {
  unsigned grid[3] = {1, 1, 1};
  unsigned block[3] = {1, 1, 1};
  std::size_t dynamic_shared_bytes = 0;
  bool cooperative = false;
};

struct KernelLaunch {
  static constexpr CUgraphNodeType kNodeType = CU_GRAPH_NODE_TYPE_KERNEL;

  void run(Context& context) const noexcept;

  Shape shape;
  LoadedFunction loaded;
  std::vector<std::byte> parameters;  // the kernel's whole parameter block

  // For a graph's kernel node, what its program asks back.
  CUfunction function = nullptr;
  CUkernel kernel = nullptr;                  // if it was named so, and `function` is null
  bool packed = false;                        // the parameters came through `extra`
  std::vector<CUlaunchAttribute> attributes;  // all but CU_LAUNCH_ATTRIBUTE_COOPERATIVE, each once
};

// Throws what the launch functions return for a kernel that cannot be launched so.
void require_launchable(const KernelLaunch& launch);

// Checks, and copies the parameters. `function` is a CUfunction or a CUkernel in its place.
KernelLaunch make_launch(const std::shared_ptr<Context>& context, CUfunction function, const Shape& shape,
                         void** parameters, void** extra);

// What a device of compute capability 7.5 makes of launch attributes. Throws for those that it lacks.
void apply(const CUlaunchAttribute& attribute, Shape& shape);

}  // namespace tfusion::software::driver
