// CMake generates it upstream; all is in one library here.
#define CV_BRIDGE_EXPORT
