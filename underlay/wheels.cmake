# Given to CMake as CMAKE_PROJECT_INCLUDE where ROS comes from Python wheels: runs after project().

# The C++ bindings take three quarters of the build time, and nothing here is written in C++.
# Found here first, the packages register their generators only this once.
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
list(FILTER AMENT_EXTENSIONS_rosidl_generate_idl_interfaces EXCLUDE REGEX "_cpp:")

# Imported targets of the wheels carry the Python include directory of the machine that built
# them; CMake stops at a directory that does not exist. Deferred until all packages are found.
function(drop_missing_include_directories)
  get_directory_property(targets IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(directories ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(directories MATCHES "/opt/python/")
      list(FILTER directories EXCLUDE REGEX "^/opt/python/")
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${directories}")
    endif()
  endforeach()
endfunction()
cmake_language(DEFER CALL drop_missing_include_directories)
