import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./kv_cache_cases.ts";

checkKernels("kv_cache", cases, mistakes);
