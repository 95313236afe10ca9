# cuda.h comes from the PyPI wheel nvidia-cuda-runtime of the building Python; no NVIDIA file is part of this project.
# Defines the interface target cuda_headers and the variable CUDA_INCLUDE_DIR.
if(NOT CUDA_INCLUDE_DIR)
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c
      "import importlib.util, pathlib; s = importlib.util.find_spec('nvidia.cu13'); print(next((str(p) for r in s.submodule_search_locations for p in [pathlib.Path(r) / 'include'] if (p / 'cuda.h').exists()), ''))"
    OUTPUT_VARIABLE CUDA_INCLUDE_DIR OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT EXISTS ${CUDA_INCLUDE_DIR}/cuda.h)
  message(FATAL_ERROR "cuda.h was not found. Install the wheel nvidia-cuda-runtime==13.0.* into ${Python_EXECUTABLE}'s environment, or pass -DCUDA_INCLUDE_DIR=<folder with cuda.h>.")
endif()
add_library(cuda_headers INTERFACE)
target_include_directories(cuda_headers SYSTEM INTERFACE ${CUDA_INCLUDE_DIR})
