import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./slots_cases.ts";

checkKernels("slots", cases, mistakes);
