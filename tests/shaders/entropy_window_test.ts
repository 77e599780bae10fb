/** Tests of the window kernels. @module */
import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./entropy_window_cases.ts";

checkKernels("entropy_window", cases, mistakes);
