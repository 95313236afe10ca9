// Stream capture, as the rest of the hook sees it; see capture.cpp.
#pragma once

#include <cstdint>

namespace tfusion::hook {

// Whether work in this stream (as it travels) would go into a graph. Costs a load while nothing is captured;
// else the worker is asked, as captures spread through events.
bool is_capturing(std::uint64_t stream);

// The stream was destroyed, and with it a capture that began in it.
void capturing_stream_ends(std::uint64_t stream);

// The context was reset.
void forget_captures();

}  // namespace tfusion::hook
