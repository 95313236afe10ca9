// The undocumented tables that CUDA libraries get through cuGetExportTable: what cudart, cuBLAS and cuFFT
// call there.
#pragma once

namespace tfusion::hook {

const void* module_table();     // 6bd5fb6c
const void* handshake_table();  // d4082055
const void* handshake_entry();  // its entry [1]

}  // namespace tfusion::hook
