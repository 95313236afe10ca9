// nvmlErrorString: a name for each result code of NVML, also for those that this library never returns.
#include <iterator>

#include "abi.hpp"

using namespace tfusion::nvml;

namespace {

constexpr const char* kNames[] = {
    "Success",
    "Uninitialized",
    "Invalid Argument",
    "Not Supported",
    "Insufficient Permissions",
    "Already Initialized",
    "Not Found",
    "Insufficient Size",
    "Insufficient External Power",
    "Driver Not Loaded",
    "Timeout",
    "Interrupt Request Issue",
    "NVML Shared Library Not Found",
    "Function Not Found",
    "Corrupted infoROM",
    "GPU is lost",
    "GPU requires restart",
    "The operating system has blocked the request.",
    "RM has detected an NVML/RM version mismatch.",
    "In Use",
    "Insufficient Memory",
    "No Data",
    "ECC Not Supported by vGPU",
    "Insufficient Resources",
    "Frequency Not Supported",
    "Argument Version Mismatch",
    "Deprecated",
    "Not Ready",
    "GPU Not Found",
    "Invalid State",
    "Reset Type Not Supported",
};

}  // namespace

TFUSION_NVML const char* nvmlErrorString(unsigned result) {
  return result < std::size(kNames) ? kNames[result] : "Unknown Error";
}
