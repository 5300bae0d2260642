/** See scenarios.mjs; what the tests need to know of it. */
export const scenarios: Record<string, { isProgram?: boolean; onlyWarm?: boolean }>;
