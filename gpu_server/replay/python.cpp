// gpu_server._replay: the replay core for the worker's control side (gpu_server/worker.py).
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include "serve.hpp"

namespace nb = nanobind;
using tfusion::replay::Ending;
using tfusion::replay::SessionOrder;
using tfusion::replay::Worker;

namespace {

nb::dict facts(const Worker& worker) {
  const tfusion::protocol::DeviceFacts& f = worker.device().shared().control().facts;
  nb::dict d;
  d["name"] = std::string(f.name);
  d["pci_bus_id"] = std::string(f.pci_bus_id);
  d["total_bytes"] = worker.device().total_bytes();
  d["driver_version"] = f.driver_version;
  d["compute_capability"] = std::pair<int, int>(f.attributes[CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR],
                                                f.attributes[CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR]);
  d["pci_device_id"] = static_cast<std::uint32_t>(f.attributes[CU_DEVICE_ATTRIBUTE_GPU_PCI_DEVICE_ID]);
  d["pci_subsystem_id"] = static_cast<std::uint32_t>(f.attributes[CU_DEVICE_ATTRIBUTE_GPU_PCI_SUBSYSTEM_ID]);
  d["multiprocessors"] = f.attributes[CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT];
  return d;
}

}  // namespace

NB_MODULE(_replay, m) {
  m.doc() = "Replays one client process's CUDA driver calls on a GPU.";
  nb::class_<Worker>(m, "Worker")
      .def(nb::init<const std::string&, int, std::string>(), nb::arg("driver_path"), nb::arg("device"),
           nb::arg("cache_dir"), nb::call_guard<nb::gil_scoped_release>(),
           "Opens the driver, makes a context and the shared memory. RuntimeError with a sentence if that "
           "fails.")
      .def("facts", &facts,
           "Name, PCI address and ids, memory in bytes, driver version, compute capability of the GPU.")
      .def(
          "serve",
          [](Worker& worker, int client_fd, std::uint64_t vram_limit_bytes, int account_fd,
             unsigned account_slot, int turn_fd, int orders_fd, int bell_fd, std::string spill_folder,
             std::uint64_t piece_bytes) {
            const SessionOrder order{
                client_fd, account_fd, account_slot, vram_limit_bytes,
                turn_fd,   orders_fd,  bell_fd,      {std::move(spill_folder), piece_bytes}};
            Ending ending;
            {
              nb::gil_scoped_release release;
              ending = worker.serve(order);
            }
            return std::pair<std::string, std::string>(ending.reason, ending.detail);
          },
          nb::arg("client_fd"), nb::arg("vram_limit_bytes"), nb::arg("account_fd"), nb::arg("account_slot"),
          nb::arg("turn_fd"), nb::arg("orders_fd"), nb::arg("bell_fd"), nb::arg("spill_folder"),
          nb::arg("piece_bytes"),
          "Serves one client, once; owns the descriptors. Returns (reason, sentence) when the session ended.")
      .def("stop", &Worker::stop, nb::arg("reason"), nb::call_guard<nb::gil_scoped_release>(),
           "Ends the session with this sentence for the learner; from any thread.");
}
