"""SX1262 facts as tables: commands, modes, times, registers. Source: SX1261/2 data sheet (sections named)."""

STANDBY = ("stdby_rc", "stdby_xosc")
CONFIG = ("stdby_rc", "stdby_xosc", "fs")
ANY = ("stdby_rc", "stdby_xosc", "fs", "rx", "tx", "cad")

MODE_CODE = {"stdby_rc": 2, "stdby_xosc": 3, "fs": 4, "rx": 5, "tx": 6, "cad": 5}  # status byte, bits 6:4 (13.5.1)

# Commands that write (13.1 ... 13.4): opcode -> name, fewest and most parameter bytes, modes in which it is legal,
# method of Sx1262
WRITES = {
    0x84: ("SetSleep", 1, 1, STANDBY, "_set_sleep"),
    0x80: ("SetStandby", 1, 1, ANY, "_set_standby"),
    0xC1: ("SetFs", 0, 0, CONFIG, "_set_fs"),
    0x83: ("SetTx", 3, 3, CONFIG, "_set_tx"),
    0x82: ("SetRx", 3, 3, CONFIG, "_set_rx"),
    0xC5: ("SetCad", 0, 0, CONFIG, "_set_cad"),
    0x9F: ("StopTimerOnPreamble", 1, 1, CONFIG, "_set_stop_timer"),
    0x96: ("SetRegulatorMode", 1, 1, STANDBY, "_set_regulator"),
    0x89: ("Calibrate", 1, 1, ("stdby_rc",), "_calibrate"),
    0x98: ("CalibrateImage", 2, 2, ("stdby_rc",), "_calibrate_image"),
    0x95: ("SetPaConfig", 4, 4, CONFIG, "_set_pa_config"),
    0x93: ("SetRxTxFallbackMode", 1, 1, CONFIG, "_set_fallback"),
    0x0D: ("WriteRegister", 3, 258, CONFIG, "_write_register"),
    0x0E: ("WriteBuffer", 1, 257, ANY, "_write_buffer"),
    0x08: ("SetDioIrqParams", 8, 8, CONFIG, "_set_dio_irq"),
    0x02: ("ClearIrqStatus", 2, 2, ANY, "_clear_irq"),
    0x9D: ("SetDIO2AsRfSwitchCtrl", 1, 1, CONFIG, "_set_dio2"),
    0x97: ("SetDIO3AsTcxoCtrl", 4, 4, ("stdby_rc",), "_set_dio3"),
    0x86: ("SetRfFrequency", 4, 4, CONFIG, "_set_frequency"),
    0x8A: ("SetPacketType", 1, 1, STANDBY, "_set_packet_type"),
    0x8E: ("SetTxParams", 2, 2, CONFIG, "_set_tx_params"),
    0x8B: ("SetModulationParams", 4, 8, CONFIG, "_set_modulation"),
    0x8C: ("SetPacketParams", 6, 9, CONFIG, "_set_packet"),
    0x88: ("SetCadParams", 7, 7, CONFIG, "_set_cad_params"),
    0x8F: ("SetBufferBaseAddress", 2, 2, CONFIG, "_set_buffer_base"),
    0xA0: ("SetLoRaSymbNumTimeout", 1, 1, CONFIG, "_set_symbol_timeout"),
    0x07: ("ClearDeviceErrors", 2, 2, ANY, "_clear_errors"),
    0x00: ("ResetStats", 6, 6, ANY, "_reset_stats"),
}

# Commands that read: opcode -> name, bytes before the data, method giving n bytes from (header, n)
READS = {
    0xC0: ("GetStatus", 1, "_get_status"),
    0x1D: ("ReadRegister", 4, "_read_register"),
    0x1E: ("ReadBuffer", 3, "_read_buffer"),
    0x12: ("GetIrqStatus", 2, "_get_irq"),
    0x13: ("GetRxBufferStatus", 2, "_get_rx_buffer"),
    0x14: ("GetPacketStatus", 2, "_get_packet_status"),
    0x15: ("GetRssiInst", 2, "_get_rssi"),
    0x17: ("GetDeviceErrors", 2, "_get_errors"),
    0x11: ("GetPacketType", 2, "_get_packet_type"),
    0x10: ("GetStats", 2, "_get_stats"),
}

NOT_MODELLED = {0x94: "SetRxDutyCycle", 0xD1: "SetTxContinuousWave", 0xD2: "SetTxInfinitePreamble"}

# Times in µs (table 8-2 mode switching; 13.1.1 sleep; 3.5 ms cold start and full calibration)
BUSY_COMMAND_US = 15
BUSY_SLEEP_US = 500
RESET_PULSE_US = 100
STARTUP_US = 3500
WAKE_US = {"warm": 340, "cold": 3500}
SWITCH_US = {
    ("stdby_rc", "stdby_xosc"): 31,
    ("stdby_rc", "fs"): 50,
    ("stdby_rc", "rx"): 83,
    ("stdby_rc", "tx"): 126,
    ("stdby_xosc", "fs"): 40,
    ("stdby_xosc", "rx"): 62,
    ("stdby_xosc", "tx"): 105,
    ("fs", "fs"): 5,
    ("fs", "rx"): 41,
    ("fs", "tx"): 76,
}
CALIBRATE_US = 3500
CALIBRATE_IMAGE_US = 3300
TIMER_STEP_NS = 15625  # timeouts of SetTx, SetRx, SetDIO3AsTcxoCtrl

# IRQ bits (table 13-29)
IRQ_TX_DONE = 0x001
IRQ_RX_DONE = 0x002
IRQ_PREAMBLE = 0x004
IRQ_HEADER_VALID = 0x010
IRQ_HEADER_ERR = 0x020
IRQ_CRC_ERR = 0x040
IRQ_CAD_DONE = 0x080
IRQ_CAD_DETECTED = 0x100
IRQ_TIMEOUT = 0x200

# Device errors (table 13-86)
ERR_PLL_CALIB = 0x004
ERR_IMG_CALIB = 0x010
ERR_XOSC_START = 0x020
ERR_PLL_LOCK = 0x040

# Command status in the status byte (bits 3:1)
STATUS_DATA = 2
STATUS_TIMEOUT = 3
STATUS_FAILED = 5
STATUS_TX_DONE = 6

TCXO_MV = (1600, 1700, 1800, 2200, 2400, 2700, 3000, 3300)  # table 13-35

LORA_BW_HZ = {0: 7810, 8: 10420, 1: 15630, 9: 20830, 2: 31250, 10: 41670, 3: 62500, 4: 125000, 5: 250000, 6: 500000}

# (paDutyCycle, hpMax) -> dBm at SetTxParams power 22 (table 13-21, optimal settings for the SX1262)
PA_SETTINGS = {(4, 7): 22, (3, 5): 20, (2, 3): 17, (2, 2): 14}
PA_POWER = range(-9, 23)

# What the chip takes at the whole power of each amplifier setting (chapter 3, current in TX), and the step of the
# over-current protection (register 0x08E7)
OCP_STEP_UA = 2500
SUPPLY_UA = {(4, 7): 118000, (3, 5): 84000, (2, 3): 58000, (2, 2): 45000}


def supply_ua(pa, power):
    """µA of a transmission, roughly: half of it from 14 dB below the setting's whole power on."""
    return SUPPLY_UA[pa] - max(0, min(14, 22 - power)) * SUPPLY_UA[pa] // 28


# Registers a driver may know (table 12-1) -> value after reset. Anything else raises.
REGISTERS = {
    0x029F: 0, 0x02A0: 0, 0x02A1: 0, 0x02A2: 0, 0x02A3: 0, 0x02A4: 0, 0x02A5: 0, 0x02A6: 0, 0x02A7: 0,  # retention
    0x0580: 0, 0x0583: 0, 0x0584: 0, 0x0585: 0,  # DIO direction and pulls
    0x06B8: 0x01, 0x06B9: 0x00, 0x06BC: 0x1D, 0x06BD: 0x0F, 0x06BE: 0x10, 0x06BF: 0x21,  # GFSK whitening, CRC
    0x06C0: 0x97, 0x06C1: 0x23, 0x06C2: 0x52, 0x06C3: 0x25, 0x06C4: 0x56, 0x06C5: 0x53, 0x06C6: 0x65, 0x06C7: 0x64,
    0x06CD: 0, 0x06CE: 0,
    0x0706: 0,  # LoRa synch timeout: exponent in bits 2:0, mantissa above (15.5 of later revisions)
    0x0736: 0x0D,  # IQ polarity
    0x0740: 0x14, 0x0741: 0x24,  # LoRa sync word, private
    0x0819: 0x5A, 0x081A: 0xA5, 0x081B: 0x3C, 0x081C: 0xC3,  # random numbers
    0x0889: 0x01,  # TX modulation
    0x08AC: 0x94,  # RX gain, power saving
    0x08D8: 0xC8,  # TX clamp
    0x08E7: 0x38,  # over-current protection, 140 mA
    0x0902: 0, 0x0944: 0,  # RTC control, event mask
    0x0911: 0x05, 0x0912: 0x05,  # crystal trim
    0x0920: 0x01,  # DIO3 output voltage
}  # fmt: skip
VERSION_AT = 0x0320
VERSION = b"SX1261 V2D 2D02\x00"  # what an SX1262 says, too

RETENTION_LIST = 0x029F
IQ_POLARITY = 0x0736
SYNC_WORD = 0x0740
TX_MODULATION = 0x0889
RX_GAIN = 0x08AC
TX_CLAMP = 0x08D8
OCP = 0x08E7
SYNCH_TIMEOUT = 0x0706

# Registers that survive warm sleep only when the retention list (9.6) names them; Semtech's driver lists three of them
NEEDS_RETENTION = (RX_GAIN, TX_MODULATION, IQ_POLARITY, TX_CLAMP, OCP)

# Mistakes in the set-up that real silicon answers with a worse signal, and what they cost in dB here: chosen so large
# that a frame suffering from one does not arrive, except the clamp, which costs what the erratum says (15.2: 5-6 dB).
NO_RF_SWITCH = "rf switch (DIO2) not set up"
NOT_CALIBRATED = "not calibrated after the TCXO"
NO_IMAGE = "image not calibrated for the band"
BAD_MODULATION = "TX modulation register 0x0889 wrong for this bandwidth"
CLAMPED = "TX clamp register 0x08D8 not set at 14 dBm or more"
WRONG_LDRO = "low data rate optimisation wrong for this SF and bandwidth"
WRONG_IQ = "IQ register 0x0736 wrong"
LOW_OCP = "over-current protection 0x08E7 below what this power takes"
TX_LOSS_DB = {NO_RF_SWITCH: 40, BAD_MODULATION: 30, WRONG_LDRO: 40, CLAMPED: 6, LOW_OCP: 10}
RX_LOSS_DB = {NO_RF_SWITCH: 40, NOT_CALIBRATED: 30, NO_IMAGE: 30, WRONG_LDRO: 40}
POWER_SAVING_GAIN_DB = 2  # sensitivity below the boosted gain (0x08AC = 0x96)
OFF_FREQUENCY_HZ = 150000  # where a transmission lands when the PLL was not calibrated
