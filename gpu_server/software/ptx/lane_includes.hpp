// The headers that lane handlers need, kept apart so that they are read before the instruction set is raised:
// inline code of the standard library must not be compiled for instructions that the machine may lack.
#pragma once

#include <algorithm>
#include <bit>
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "lane_tables.hpp"
#include "lanes.hpp"
#include "operation.hpp"
