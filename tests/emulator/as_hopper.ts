// Imported before the library is: the device named `emulated` has compute capability 9.0 in this process.
process.env.EMULSION_EMULATOR_CAPABILITY = '90';
