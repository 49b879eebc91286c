"""The alert as Fink sends it for ZTF (schema 4.02, Fink 4.1): field names and types, in order."""

from __future__ import annotations

from finkbridge.simulator.schemas.build import array, fields, mapping, record, struct

CANDIDATE = fields("""
jd:double fid:int pid:long diffmaglim:float pdiffimfilename:string programpi:string programid:int
candid:long isdiffpos:string tblid:long nid:int rcid:int field:int xpos:float ypos:float ra:double
dec:double magpsf:float sigmapsf:float chipsf:float magap:float sigmagap:float distnr:float magnr:float
sigmagnr:float chinr:float sharpnr:float sky:float magdiff:float fwhm:float classtar:float mindtoedge:float
magfromlim:float seeratio:float aimage:float bimage:float aimagerat:float bimagerat:float elong:float
nneg:int nbad:int rb:float ssdistnr:float ssmagnr:float ssnamenr:string sumrat:float magapbig:float
sigmagapbig:float ranr:double decnr:double sgmag1:float srmag1:float simag1:float szmag1:float
sgscore1:float distpsnr1:float ndethist:int ncovhist:int jdstarthist:double jdendhist:double scorr:double
tooflag:int objectidps1:long objectidps2:long sgmag2:float srmag2:float simag2:float szmag2:float
sgscore2:float distpsnr2:float objectidps3:long sgmag3:float srmag3:float simag3:float szmag3:float
sgscore3:float distpsnr3:float nmtchps:int rfid:long jdstartref:double jdendref:double nframesref:int
rbversion:string dsnrms:float ssnrms:float dsdiff:float magzpsci:float magzpsciunc:float magzpscirms:float
nmatches:int clrcoeff:float clrcounc:float zpclrcov:float zpmed:float clrmed:float clrrms:float
neargaia:float neargaiabright:float maggaia:float maggaiabright:float exptime:float drb:float
drbversion:string
""")

PRV_CANDIDATE = fields("""
jd:double fid:int pid:long diffmaglim:float pdiffimfilename:string programpi:string programid:int
candid:long isdiffpos:string tblid:long nid:int rcid:int field:int xpos:float ypos:float ra:double
dec:double magpsf:float sigmapsf:float chipsf:float magap:float sigmagap:float distnr:float magnr:float
sigmagnr:float chinr:float sharpnr:float sky:float magdiff:float fwhm:float classtar:float mindtoedge:float
magfromlim:float seeratio:float aimage:float bimage:float aimagerat:float bimagerat:float elong:float
nneg:int nbad:int rb:float ssdistnr:float ssmagnr:float ssnamenr:string sumrat:float magapbig:float
sigmagapbig:float ranr:double decnr:double scorr:double magzpsci:float magzpsciunc:float magzpscirms:float
clrcoeff:float clrcounc:float rbversion:string
""")

CUTOUT = fields("""
fileName:string stampData:bytes
""")

LC_FEATURES = fields("""
mean:double weighted_mean:double standard_deviation:double median:double amplitude:double
beyond_1_std:double cusum:double inter_percentile_range_10:double kurtosis:double linear_trend:double
linear_trend_sigma:double linear_trend_noise:double linear_fit_slope:double linear_fit_slope_sigma:double
linear_fit_reduced_chi2:double magnitude_percentage_ratio_40_5:double
magnitude_percentage_ratio_20_10:double maximum_slope:double median_absolute_deviation:double
median_buffer_range_percentage_10:double percent_amplitude:double mean_variance:double
anderson_darling_normal:double chi2:double skew:double stetson_K:double
""")

SCHEMA = record(
    "value",
    [
        *fields("""
candid:long schemavsn:string publisher:string objectId:string
"""),
        struct("candidate", CANDIDATE),
        array("prv_candidates", PRV_CANDIDATE),
        struct("cutoutScience", CUTOUT),
        struct("cutoutTemplate", CUTOUT),
        struct("cutoutDifference", CUTOUT),
        *fields("""
brokerIngestTimestamp:string brokerStartProcessTimestamp:string fink_broker_version:string
fink_science_version:string cdsxmatch:string tns:string DR3Name:string Plx:float e_Plx:float gaiaVarFlag:int
gaiaClass:string vsx:string spicy_id:int spicy_class:string gcvs:string x3hsp:string x4lac:string
"""),
        mapping("mangrove", "string"),
        *fields("""
roid:int rf_snia_vs_nonia:double snn_snia_vs_nonia:double snn_sn_vs_all:double mulens:double nalerthist:int
rf_kn_vs_nonkn:double anomaly_score:double anomaly_score_beta:double anomaly_score_anais:double
anomaly_score_emille:double anomaly_score_julien:double anomaly_score_maria:double
anomaly_score_emille_30days:double anomaly_score_varvara:double
"""),
        struct("lc_features_g", LC_FEATURES),
        struct("lc_features_r", LC_FEATURES),
        *fields("""
jd_first_real_det:double jdstarthist_dt:double mag_rate:double sigma_rate:double lower_rate:double
upper_rate:double delta_time:double from_upper:boolean
"""),
        mapping("blazar_stats", "float"),
        *fields("""
is_transient:boolean slsn_score:double brokerEndProcessTimestamp:string tracklet:string timestamp:string
year:int month:int day:int finkclass:string tnsclass:string
"""),
    ],
)
