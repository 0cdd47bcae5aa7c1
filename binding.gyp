# The CPU engine alone, for machines without CMake. Sources are taken by folder, as in CMakeLists.txt, and
# compiled with the same flags; scripts/build_native.mjs picks the tool.
{
  "variables": {
    "list": "node -p \"require('fs').readdirSync(process.argv[1]).filter(f=>f.endsWith('.cc')&&!/^(caches|parallel)\\.cc$/.test(f)).map(f=>process.argv[1]+'/'+f).join(' ')\"",
    "kernel_sources": ["<!@(<(list) native/cpu)"],
    "levels%": "<!(node -p \"process.arch==='x64'?'x64':process.arch==='arm64'?'arm64':'other'\")",
  },
  "target_defaults": {
    "include_dirs": [
      "native",
      "<!(node -p \"require('node-addon-api').include_dir\")",
      "<!(node -p \"require('node-api-headers').include_dir\")",
    ],
    "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_CPP_EXCEPTIONS", "NDEBUG"],
    "cflags!": ["-fno-exceptions", "-O2"],
    "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-O2"],
    "cflags_cc": [
      "-std=gnu++20", "-O3", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-psabi",
      "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
    ],
    "xcode_settings": {
      "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
      "GCC_ENABLE_CPP_RTTI": "YES",
      "CLANG_CXX_LANGUAGE_STANDARD": "gnu++20",
      "GCC_OPTIMIZATION_LEVEL": "3",
      "MACOSX_DEPLOYMENT_TARGET": "11.0",
      "OTHER_CPLUSPLUSFLAGS": ["-fvisibility=hidden", "-fno-math-errno", "-ffp-contract=fast"],
    },
  },
  "targets": [
    {
      "target_name": "emulsion",
      "sources": [
        "<!@(<(list) native/core)",
        "<!@(<(list) native/binding)",
        "native/cpu/caches.cc",
        "native/cpu/parallel.cc",
      ],
      "libraries": ["-lpthread"],
      "conditions": [
        ["levels=='x64'", {
          "dependencies": ["emulsion_baseline", "emulsion_avx2", "emulsion_avx512"],
          "defines": ["EMULSION_HAS_baseline=1", "EMULSION_HAS_avx2=1", "EMULSION_HAS_avx512=1"],
        }],
        ["levels=='arm64'", {
          "dependencies": ["emulsion_neon"],
          "defines": ["EMULSION_HAS_neon=1"],
        }],
        ["levels=='other'", {
          "dependencies": ["emulsion_baseline"],
          "defines": ["EMULSION_HAS_baseline=1"],
        }],
      ],
    },
  ],
  "conditions": [
    ["levels!='arm64'", {
      "targets": [{
        "target_name": "emulsion_baseline",
        "type": "static_library",
        "sources": ["<@(kernel_sources)"],
        "defines": ["EMULSION_LEVEL=baseline"],
      }],
    }],
    ["levels=='x64'", {
      "targets": [
        {
          "target_name": "emulsion_avx2",
          "type": "static_library",
          "sources": ["<@(kernel_sources)"],
          "defines": ["EMULSION_LEVEL=avx2"],
          "cflags_cc": ["-mavx2", "-mfma", "-mf16c", "-mbmi2"],
          "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["-mavx2", "-mfma", "-mf16c", "-mbmi2"] },
        },
        {
          "target_name": "emulsion_avx512",
          "type": "static_library",
          "sources": ["<@(kernel_sources)"],
          "defines": ["EMULSION_LEVEL=avx512"],
          "cflags_cc": [
            "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c", "-mbmi2",
            "-mprefer-vector-width=512",
          ],
          "xcode_settings": {
            "OTHER_CPLUSPLUSFLAGS": [
              "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c", "-mbmi2",
              "-mprefer-vector-width=512",
            ],
          },
        },
      ],
    }],
    ["levels=='arm64'", {
      "targets": [{
        "target_name": "emulsion_neon",
        "type": "static_library",
        "sources": ["<@(kernel_sources)"],
        "defines": ["EMULSION_LEVEL=neon"],
      }],
    }],
  ],
}
