#include "services/coordinator/planner/planner.h"
