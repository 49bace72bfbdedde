// Generated from contract/ by `wimz schema web > web/messages.js`. Do not edit.

export const CONTRACT_VERSION = "1.1";

export const COMMANDS = {
  "motor": {
    "timeout_s": 0.4,
    "rate_hz": 60.0,
    "motion": true,
    "urgent": false,
    "role": "driver",
    "fields": {
      "left": {
        "description": "fraction of full speed, forward is positive",
        "type": "number",
        "minimum": -1.0,
        "maximum": 1.0,
        "required": true
      },
      "right": {
        "description": "fraction of full speed, forward is positive",
        "type": "number",
        "minimum": -1.0,
        "maximum": 1.0,
        "required": true
      }
    }
  },
  "servo": {
    "timeout_s": 0.4,
    "rate_hz": 60.0,
    "motion": true,
    "urgent": false,
    "role": "driver",
    "fields": {
      "pan": {
        "description": "degrees, right is positive",
        "type": "number",
        "minimum": -90.0,
        "maximum": 90.0,
        "required": false
      },
      "tilt": {
        "description": "degrees, up is positive",
        "type": "number",
        "minimum": -45.0,
        "maximum": 45.0,
        "required": false
      }
    }
  },
  "servo_center": {
    "timeout_s": 2.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "driver",
    "fields": {}
  },
  "stop": {
    "timeout_s": 0.4,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": true,
    "role": "viewer",
    "fields": {}
  },
  "emergency_stop": {
    "timeout_s": 0.4,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": true,
    "role": "viewer",
    "fields": {}
  },
  "release": {
    "timeout_s": 2.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "driver",
    "fields": {}
  },
  "treat": {
    "timeout_s": 15.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "driver",
    "fields": {}
  },
  "carousel_rotate": {
    "timeout_s": 10.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "driver",
    "fields": {}
  },
  "treat_refill": {
    "timeout_s": 2.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "driver",
    "fields": {
      "count": {
        "description": "count",
        "type": "integer",
        "minimum": 0,
        "maximum": 1000000,
        "required": true
      }
    }
  },
  "led": {
    "timeout_s": 2.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "driver",
    "fields": {
      "pattern": {
        "enum": [
          "alert",
          "attention",
          "breathing",
          "celebration",
          "chase",
          "fire",
          "idle",
          "off",
          "pulse",
          "rainbow",
          "searching",
          "solid",
          "warning"
        ],
        "required": false
      },
      "r": {
        "description": "colour component",
        "type": "integer",
        "minimum": 0,
        "maximum": 255,
        "required": false
      },
      "g": {
        "description": "colour component",
        "type": "integer",
        "minimum": 0,
        "maximum": 255,
        "required": false
      },
      "b": {
        "description": "colour component",
        "type": "integer",
        "minimum": 0,
        "maximum": 255,
        "required": false
      }
    }
  },
  "audio": {
    "timeout_s": 5.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "driver",
    "fields": {
      "file": {
        "description": "a bare file name",
        "type": "string",
        "maxLength": 128,
        "minLength": 1,
        "pattern": "^[^/\\\\\\x00-\\x1f\\x7f.][^/\\\\\\x00-\\x1f\\x7f]*$(?!\\n)",
        "required": true
      }
    }
  },
  "audio_stop": {
    "timeout_s": 2.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "driver",
    "fields": {}
  },
  "audio_toggle": {
    "timeout_s": 5.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "driver",
    "fields": {}
  },
  "audio_next": {
    "timeout_s": 5.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "driver",
    "fields": {}
  },
  "audio_previous": {
    "timeout_s": 5.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "driver",
    "fields": {}
  },
  "audio_volume": {
    "timeout_s": 2.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "driver",
    "fields": {
      "level": {
        "description": "percent",
        "type": "integer",
        "minimum": 0,
        "maximum": 100,
        "required": true
      }
    }
  },
  "audio_files": {
    "timeout_s": 2.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "viewer",
    "fields": {}
  },
  "audio_current": {
    "timeout_s": 2.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "viewer",
    "fields": {}
  },
  "mode": {
    "timeout_s": 2.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "driver",
    "fields": {
      "mode": {
        "enum": [
          "coach",
          "docking",
          "guardian",
          "idle",
          "manual",
          "mission",
          "silent_guardian",
          "training"
        ],
        "required": true
      }
    }
  },
  "mode_get": {
    "timeout_s": 2.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "viewer",
    "fields": {}
  },
  "mission_list": {
    "timeout_s": 2.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "viewer",
    "fields": {}
  },
  "mission_get": {
    "timeout_s": 2.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "viewer",
    "fields": {
      "mission_id": {
        "description": "an identifier",
        "type": "string",
        "maxLength": 128,
        "minLength": 1,
        "pattern": "^[\\x21-\\x7e]+$(?!\\n)",
        "required": true
      }
    }
  },
  "mission_start": {
    "timeout_s": 2.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "driver",
    "fields": {
      "mission_id": {
        "description": "an identifier",
        "type": "string",
        "maxLength": 128,
        "minLength": 1,
        "pattern": "^[\\x21-\\x7e]+$(?!\\n)",
        "required": true
      }
    }
  },
  "mission_stop": {
    "timeout_s": 2.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "driver",
    "fields": {
      "mission_id": {
        "description": "an identifier",
        "type": "string",
        "maxLength": 128,
        "minLength": 1,
        "pattern": "^[\\x21-\\x7e]+$(?!\\n)",
        "required": true
      }
    }
  },
  "get_status": {
    "timeout_s": 2.0,
    "rate_hz": 10.0,
    "motion": false,
    "urgent": false,
    "role": "viewer",
    "fields": {}
  }
};

export const LED_PATTERNS = [
  "breathing",
  "rainbow",
  "celebration",
  "searching",
  "alert",
  "idle",
  "pulse",
  "solid",
  "chase",
  "fire",
  "warning",
  "attention",
  "off"
];

export const MODES = [
  "idle",
  "guardian",
  "training",
  "manual",
  "docking"
];

export const MODE_ALIASES = {
  "silent_guardian": "guardian",
  "coach": "training",
  "mission": "training"
};

export const ROLES = [
  "owner",
  "driver",
  "viewer"
];

export const EVENTS = [
  "detection",
  "status",
  "treat",
  "mission",
  "mode",
  "alert",
  "error",
  "device_status"
];

export const ERROR_STATUS = {
  "INVALID_JSON": 400,
  "INVALID_PARAMETER": 400,
  "UNKNOWN_COMMAND": 400,
  "NO_DEVICE": 400,
  "AUTH_FAILED": 401,
  "CLOCK_SKEW": 401,
  "NOT_AUTHORIZED": 403,
  "NOT_PAIRED": 403,
  "NOT_FOUND": 404,
  "METHOD_NOT_ALLOWED": 405,
  "CONFLICT": 409,
  "NOT_FITTED": 409,
  "EMERGENCY_STOPPED": 409,
  "LOW_BATTERY": 409,
  "SUPERSEDED": 409,
  "BUSY": 409,
  "EMPTY": 409,
  "STALE_COMMAND": 409,
  "MESSAGE_TOO_LARGE": 413,
  "RATE_LIMITED": 429,
  "COOLDOWN": 429,
  "DAILY_LIMIT": 429,
  "INTERNAL_ERROR": 500,
  "TREAT_JAM": 500,
  "TURN_ERROR": 503,
  "DEVICE_OFFLINE": 503,
  "UNAVAILABLE": 503,
  "VIEWER_LIMIT": 503,
  "CAMERA_FAULT": 503,
  "AUDIO_UNAVAILABLE": 503,
  "MOTOR_FAULT": 503
};

export const CLOSE = {
  "AUTH_FAILED": 4001,
  "HEARTBEAT_LOST": 4002,
  "SUPERSEDED": 4003,
  "TOO_SLOW": 4008,
  "TOO_LARGE": 1009,
  "RESTARTING": 1012
};

export const MAX_FRAME_BYTES = 65536;
