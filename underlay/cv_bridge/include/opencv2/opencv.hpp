// The whole OpenCV, of which cv_bridge uses two modules.
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
